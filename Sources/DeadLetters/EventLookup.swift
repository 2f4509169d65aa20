import BSON
import Bridge
import BridgeConfiguration
import Logging
import Mapping
import MongoSource
import NIOPosix
import Oplog
import Synchronization

/// Finds one event in the oplog again, by its position.
struct EventLookup {
  let configuration: BridgeConfiguration
  let logger: Logger
  /// How long MongoDB may be out of reach on the way.
  private static let patience = Duration.seconds(10)

  /// The event in canonical Extended JSON.
  ///
  /// - Throws: `positionLost` where the oplog no longer has it, or never had.
  func text(at position: EventPosition) async throws(BridgeError) -> String {
    let changes = LiveChanges(
      configuration, reader: .oplog, logger: logger, patience: Self.patience, wantsDocuments: false)
    defer { changes.stop() }
    do {
      guard
        try await MongoAdmin.entryExists(configuration.mongoSourceOptions, at: position.entry)
      else {
        throw BridgeError.positionLost("the oplog no longer holds \(position.entry)")
      }
      let found = FoundText()
      try await changes.walk(
        position...position, on: MultiThreadedEventLoopGroup.singleton.next(),
        mayContinue: { true }, found.take)
      guard let text = found.text else {
        throw BridgeError.positionLost("the entry at \(position.entry) has no event \(position)")
      }
      return text
    } catch let error as BridgeError {
      throw error
    } catch let failure as RangeFailure {
      throw Self.error(failure)
    } catch {
      throw .unavailable(MongoError.words(of: error))
    }
  }

  private static func error(_ failure: RangeFailure) -> BridgeError {
    switch failure.cause {
    case .lost, .source(.positionLost): .positionLost(failure.description)
    case .source(.unsupported(let why)): .configuration(why)
    case .source(.corruptReply(let why)): .halted(why)
    case .source(.refused(let why)): .unavailable(why)
    case .silence, .other: .unavailable(MongoError.words(of: failure))
    }
  }

  private final class FoundText: Sendable {
    private let found = Mutex<String?>(nil)

    var text: String? { found.withLock { $0 } }

    @Sendable func take(_ event: ChangeEvent) {
      var mapper = Mapper(rules: [], sourceName: "")
      var out = ByteWriter(capacity: 4096)
      mapper.writeDeadLetterBody(event: event, into: &out)
      let text = String(decoding: out.bytes, as: UTF8.self)
      found.withLock { $0 = text }
    }
  }
}
