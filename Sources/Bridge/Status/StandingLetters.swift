import BridgeConfiguration
import JSON
import JetStream
import Mapping
import NATS
import NIOCore

/// The number of a bridge's dead letters in their stream, counted by the stream itself, by subject. Bridges
/// that share the stream and have rules of the same name need different subjects (`dead_letter.subject`).
struct StandingLetters: Sendable {
  let stream: String
  /// The subject of all dead letters, with wildcards.
  let pattern: String
  /// The same for each rule.
  let own: [String]

  init(_ configuration: BridgeConfiguration) {
    stream = configuration.deadLetter.stream
    pattern = configuration.deadLetter.subject.pattern
    own = configuration.deadLetter.subject.patterns(ofRules: configuration.rules.map(\.name))
  }

  /// Nil if the stream can't be asked.
  func count(_ jetStream: JetStreamClient) async -> UInt64? {
    var once = jetStream
    once.attempts = 1
    guard
      let answer = try? await once.request(
        "STREAM.INFO.\(stream)", ["subjects_filter": .string(pattern)])
    else { return nil }
    guard let subjects = answer["state"]?["subjects"]?.objectValue else { return 0 }
    return subjects.reduce(0) { sum, subject in
      own.contains { subjectIsCovered(subject.key, by: $0) }
        ? sum &+ (subject.value.integer(UInt64.self) ?? 0) : sum
    }
  }

  static let interval = Duration.seconds(5)
}

extension EpochRunner {
  /// From the beginning of an epoch on, every few seconds.
  func countLetters(on connection: NATSConnection) -> Task<Void, Never> {
    let letters = StandingLetters(configuration)
    let jetStream = JetStreamClient(connection)
    return Task { [board] in
      while !Task.isCancelled {
        if let count = await letters.count(jetStream) {
          board.update { $0.standingLetters = count }
        }
        try? await connection.eventLoop.sleep(for: StandingLetters.interval)
      }
    }
  }
}
