import BSON
public import Bridge
public import BridgeConfiguration
package import JetStream
public import Logging
import MongoSource
import NATS

/// The dead-letter stream in an operator's hands: `tailrace dlq list|show|replay|drop`.
public struct DeadLetterBox: Sendable {
  package let configuration: BridgeConfiguration
  package let logger: Logger

  public init(_ configuration: BridgeConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
  }

  package var stream: String { configuration.deadLetter.stream }

  /// Hands out the letters that the filter takes, oldest first. What comes in meanwhile is left out.
  ///
  /// - Returns: how many more the filter would take, were they not of other bridges; so do the others.
  @discardableResult
  public func list(
    _ filter: DeadLetterFilter, _ body: (DeadLetter) -> Void
  ) async throws(BridgeError) -> Int {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      try await walk(jetStream, filter) { letter throws(BridgeError) in body(letter) }
    }
  }

  /// Takes letters out of the stream, and hands out those that were there. First it keeps which they are
  /// (`DroppedLetters`), so that nobody takes their events for lost.
  public func drop(
    _ filter: DeadLetterFilter, _ body: (DeadLetter) -> Void
  ) async throws(BridgeError) -> Int {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      var waiting: [DeadLetter] = []
      let leftOut = try await walk(jetStream, filter) { letter throws(BridgeError) in
        waiting.append(letter)
        guard waiting.count >= Self.mostWaiting else { return }
        try await drop(waiting, jetStream, body)
        waiting = []
      }
      try await drop(waiting, jetStream, body)
      return leftOut
    }
  }

  private static let mostWaiting = 100

  private func drop(
    _ letters: [DeadLetter], _ jetStream: JetStreamClient, _ body: (DeadLetter) -> Void
  ) async throws(BridgeError) {
    for (bridge, theirs) in Dictionary(grouping: letters, by: \.bridge) {
      let place = DroppedLetters(jetStream, configuration, bridge: bridge.isEmpty ? nil : bridge)
      do {
        try await place.add(theirs)
      } catch {
        throw .unavailable(
          "which letters are dropped could not be written to KV bucket \(configuration.bridge.stateBucket), so they are kept: \(error)"
        )
      }
    }
    for letter in letters where try await remove(letter, jetStream) { body(letter) }
  }

  /// The change event of a letter in canonical Extended JSON: whole, where that takes reading the
  /// oplog again for documents that were too large for the dead letter.
  public func event(of letter: DeadLetter) async throws(BridgeError) -> String {
    guard !letter.omitted.isEmpty, let position = letter.position else { return letter.body }
    guard !letter.isSnapshot else {
      throw .positionLost(
        "the document of a snapshot is not in the oplog: look for it in \(letter.namespace)")
    }
    return try await EventLookup(configuration: configuration, logger: logger)
      .text(at: position)
  }

  // MARK: - Steps

  /// - Returns: how many letters were left out because they are of other bridges, or name none.
  package func walk(
    _ jetStream: JetStreamClient, _ filter: DeadLetterFilter,
    _ body: (DeadLetter) async throws(BridgeError) -> Void
  ) async throws(BridgeError) -> Int {
    let letters = LetterStream(configuration)
    var leftOut = 0
    guard
      let info = try await asking({ () throws(JetStreamError) in
        try await jetStream.stream(stream)
      })
    else { return 0 }
    var next = max(info.firstSequence, 1)
    var left = filter.limit ?? .max
    while next <= info.lastSequence, left > 0 {
      let from = next
      let message = try await asking { () throws(JetStreamError) in
        try await jetStream.nextMessage(in: stream, from: from)
      }
      guard let message, message.sequence >= from, message.sequence <= info.lastSequence else {
        break
      }
      next = message.sequence &+ 1
      guard let letter = DeadLetter(message, letters), filter.takes(letter) else { continue }
      guard filter.takesBridge(of: letter) else {
        leftOut += 1
        continue
      }
      left -= 1
      try await body(letter)
    }
    return leftOut
  }

  package func remove(
    _ letter: DeadLetter, _ jetStream: JetStreamClient
  ) async throws(BridgeError) -> Bool {
    try await asking { () throws(JetStreamError) in
      try await jetStream.deleteMessage(in: stream, at: letter.sequence)
    }
  }

  private func asking<T>(
    _ question: () async throws(JetStreamError) -> T
  ) async throws(BridgeError) -> T {
    do {
      return try await question()
    } catch {
      throw .unavailable("\(error)")
    }
  }
}
