public import Bridge
public import BridgeConfiguration
import JetStream
public import Logging
import MongoSource
import NIOCore
import NIOPosix
public import Oplog

/// The bodies of messages: of those that a rule makes of the oplog, and of those that a stream holds.
public struct BodyReader: Sendable {
  private let configuration: BridgeConfiguration
  private let logger: Logger

  /// How long MongoDB may send nothing.
  private static let patience = Duration.seconds(20)

  public init(_ configuration: BridgeConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
  }

  // MARK: The oplog

  /// Hands out what a rule publishes for the events of a range, whether its schema would accept it or not.
  ///
  /// - Parameters:
  ///   - from: the first entry, or the one before which there is none; nil: the oldest.
  ///   - until: the last one; nil: the newest that a majority has.
  ///   - take: called on one thread, with bytes that are valid within the call.
  public func bodies(
    ofRule rule: Int, from: OplogPosition?, until: OplogPosition?,
    _ take: @escaping @Sendable (UnsafeRawBufferPointer) -> Void
  ) async throws(BridgeError) {
    var configuration = configuration
    configuration.schemas = configuration.schemas.map { _ in nil }
    let source = configuration.mongoSourceOptions
    do {
      let first: OplogPosition
      if let from {
        first = from
      } else {
        first = try await MongoAdmin.oldestPosition(source).position
      }
      let last: OplogPosition
      if let until {
        last = until
      } else {
        last = try await MongoAdmin.majorityPosition(source).position
      }
      guard first <= last else { return }
      let name: String
      if let given = configuration.source.name {
        name = given
      } else {
        name = try await MongoAdmin.identify(source).setName
      }
      let changes = LiveChanges(
        configuration, reader: configuration.source.reader, logger: logger,
        patience: Self.patience)
      defer { changes.stop() }
      let events = RuleBodies(configuration, rule: rule, sourceName: name, take)
      let range =
        EventPosition(entry: first, index: 0)...EventPosition(entry: last, index: .max)
      try await changes.walk(
        range, on: MultiThreadedEventLoopGroup.singleton.next(), mayContinue: { true },
        events.take)
    } catch let error as MongoError {
      throw error.isTransient
        ? .unavailable(MongoError.words(of: error)) : .configuration(MongoError.words(of: error))
    } catch let error as RangeFailure {
      throw .unavailable(error.description)
    } catch let error as BridgeError {
      throw error
    } catch {
      throw .unavailable("\(error)")
    }
  }

  // MARK: A stream

  /// Hands out the bodies that a stream holds, the oldest first.
  ///
  /// - Parameters:
  ///   - rule: only those of messages that this rule made.
  ///   - limit: no more than so many.
  ///   - take: false for a body that was not what is wanted; it doesn't count.
  public func bodies(
    inStream stream: String, rule: String?, limit: Int,
    _ take: @escaping @Sendable ([UInt8]) -> Bool
  ) async throws(BridgeError) {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      do throws(JetStreamError) {
        guard let info = try await jetStream.stream(stream) else {
          throw JetStreamError(
            code: JetStreamCode.streamNotFound, operation: "STREAM.INFO.\(stream)",
            message: "there is no such stream", remedy: .operatorMustAct)
        }
        var next = info.firstSequence
        var taken = 0
        while next <= info.lastSequence, taken < limit {
          guard let message = try await jetStream.nextMessage(in: stream, from: next) else {
            return
          }
          next = message.sequence + 1
          if let rule, message.header("Tailrace-Rule") != rule { continue }
          if take(message.payload) { taken += 1 }
        }
      } catch {
        throw error.code == JetStreamCode.streamNotFound
          ? BridgeError.configuration("\(error)") : .unavailable("\(error)")
      }
    }
  }
}

/// Makes a rule's messages.
///
/// Sendable invariant: every stored property is touched on the walk's event loop only.
private final class RuleBodies: @unchecked Sendable {
  private var maker: MessageMaker
  private var sink: BufferSink
  private let rule: Int
  private let take: @Sendable (UnsafeRawBufferPointer) -> Void

  init(
    _ configuration: BridgeConfiguration, rule: Int, sourceName: String,
    _ take: @escaping @Sendable (UnsafeRawBufferPointer) -> Void
  ) {
    maker = MessageMaker(configuration, sourceName: sourceName)
    sink = BufferSink(configuration, maximumPayload: 64 << 20)
    self.rule = rule
    self.take = take
  }

  @Sendable func take(_ event: ChangeEvent) {
    var cursor = maker.begin(event)
    while !cursor.isDone {
      switch maker.step(event, &cursor, buffer: &sink) {
      case .sent(let made): if made == rule { take(sink.body) }
      // Other rules may halt the bridge; here that matters to nobody.
      case .halt: return
      case .deadLetter, .dropped, .filtered, .invalid, .unmatched, .passed, .full: break
      }
    }
  }
}
