import BridgeConfiguration
import JSON
import JetStream
import NATS

/// What a stream holds, and may hold, as its server says.
struct StreamStorage: Sendable, Equatable {
  var messages: UInt64
  var bytes: UInt64
  /// Nil: no limit.
  var maximumMessages: Int?
  var maximumBytes: Int?
  /// Whether a full stream discards its oldest messages, or refuses new ones.
  var discardsOld: Bool

  init(_ info: StreamInfo) {
    messages = info.messages
    bytes = info.raw["state"]?["bytes"]?.integer() ?? 0
    maximumMessages = info.config.streamLimit("max_msgs")
    maximumBytes = info.maximumBytes
    discardsOld = info.config["discard"]?.stringValue != "new"
  }

  static let interval = Duration.seconds(5)
}

extension EpochRunner {
  /// From the beginning of an epoch on, every few seconds.
  func watchStorage(on connection: NATSConnection) -> Task<Void, Never>? {
    guard service.surroundings.watchesDrift else { return nil }
    var jetStream = JetStreamClient(connection)
    jetStream.attempts = 1
    let names = Set(configuration.streams.map(\.name) + [configuration.deadLetter.stream]).sorted()
    return Task { [board, jetStream] in
      while !Task.isCancelled {
        for name in names {
          // A server that can't be asked leaves the last answer.
          guard let info = try? await jetStream.stream(name) else { continue }
          board.update { $0.storage[name] = StreamStorage(info) }
        }
        try? await connection.eventLoop.sleep(for: StreamStorage.interval)
      }
    }
  }
}
