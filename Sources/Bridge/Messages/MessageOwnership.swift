import BridgeConfiguration
import JetStream
import Mapping
import Oplog

/// Whose a stored message is.
package enum MessageOwner: Sendable, Equatable {
  case thisBridge
  case anotherBridge
  /// A bridge's that does not say which: written before messages named their bridge.
  case unnamed
  /// Not of a bridge at all: another producer's.
  case nobody
}

/// Decides which messages of one stream are this bridge's.
package struct StreamOwnership: Sendable {
  private let bridge: [UInt8]
  /// Nobody else writes to the stream, so that messages without a bridge's name are this one's.
  private let isExclusive: Bool

  package init(bridge: String, isExclusive: Bool) {
    self.bridge = Array(bridge.utf8)
    self.isExclusive = isExclusive
  }

  package func owner(of marks: MessageMarks) -> MessageOwner {
    guard marks.isOfBridge else { return .nobody }
    if marks.isCopy { return .anotherBridge }
    guard let name = marks.bridge else { return isExclusive ? .thisBridge : .unnamed }
    return name.elementsEqual(bridge) ? .thisBridge : .anotherBridge
  }

  func owner(of message: StoredMessage) -> MessageOwner {
    message.headerBlock.withUnsafeBytes { owner(of: MessageMarks($0)) }
  }
}

/// Decides which stored messages are this bridge's: the one decision that resuming, checkpoints,
/// snapshots, verification and dead letters share (docs/guarantees.md, "Whose message it is").
struct MessageOwnership: Sendable {
  private let bridge: String
  private let exclusive: Set<String>

  init(_ configuration: BridgeConfiguration) {
    bridge = configuration.bridge.name
    exclusive = Set(
      configuration.streams.filter { $0.ownership == .exclusive }.map(\.name))
  }

  func of(_ stream: String) -> StreamOwnership {
    StreamOwnership(bridge: bridge, isExclusive: exclusive.contains(stream))
  }

  /// The message as one of ours that says how far its stream is; nil if somebody else published it: an
  /// operator who replays dead letters, too.
  ///
  /// `acknowledged`: what the checkpoint says of the stream. It proves the very message that it names to
  /// be ours, even if that does not say so itself.
  func own(
    _ message: StoredMessage, in stream: String, acknowledged: Checkpoint.Stream? = nil
  ) -> StreamObservation.Own? {
    message.headerBlock.withUnsafeBytes { block in
      own(block, sequence: message.sequence, in: stream, acknowledged: acknowledged)
    }
  }

  /// The same for a message of which the header block is at hand.
  func own(
    _ block: UnsafeRawBufferPointer, sequence: UInt64, in stream: String,
    acknowledged: Checkpoint.Stream?
  ) -> StreamObservation.Own? {
    let marks = MessageMarks(block)
    guard !marks.isReplayed, let position = marks.position, let rule = marks.rule else {
      return nil
    }
    let own = StreamObservation.Own(
      sequence: sequence, position: position, rule: String(decoding: rule, as: UTF8.self),
      id: marks.id.map { String(decoding: $0, as: UTF8.self) } ?? "")
    switch of(stream).owner(of: marks) {
    case .thisBridge: return own
    case .unnamed: return acknowledged.map { own.isNamed(in: $0) } ?? false ? own : nil
    case .anotherBridge, .nobody: return nil
    }
  }
}

extension StreamObservation.Own {
  /// Whether it is the message that the checkpoint names.
  fileprivate func isNamed(in checkpoint: Checkpoint.Stream) -> Bool {
    sequence == checkpoint.sequence && position == checkpoint.position
      && (checkpoint.id.isEmpty || id == checkpoint.id)
  }
}
