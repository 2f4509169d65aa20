package import BridgeConfiguration
import DeliberateErrors
package import JetStream
package import Mapping
package import Oplog

/// Whose a stored message is.
package enum MessageOwner: Sendable, Equatable {
  case thisBridge
  case anotherBridge
  /// Of an unnamed bridge: published before messages named their bridge.
  case unnamed
  /// Of another producer.
  case nobody
}

/// Recognizes messages by positional ids: such an id names its source, too, and a message with another source,
/// or another position than its header's, isn't the bridge's.
package struct PositionalIDs: Sendable {
  private let prefix: [UInt8]
  /// Rules with ids of their own: those may look like anything.
  private var others: Set<String>

  package init(source: String, rules: [Rule]) {
    prefix = positionalIDPrefix(of: source)
    others = Self.others(rules)
  }

  mutating func use(_ rules: [Rule]) { others = Self.others(rules) }

  private static func others(_ rules: [Rule]) -> Set<String> {
    Set(rules.filter { $0.id != .positional || $0.outbox != nil }.map(\.name))
  }

  /// Whether the message may be of this source, by its headers.
  func allow(_ marks: MessageMarks) -> Bool {
    guard let id = marks.id, let position = marks.positionText, !marks.isSnapshot,
      let colon = id.firstIndex(of: UInt8(ascii: ":"))
    else { return true }
    let isOurs = id.starts(with: prefix)
    let second = id[(isOurs ? prefix.count : colon + 1)...].prefix(while: Self.isNoColon)
    if isOurs, second.elementsEqual(position) { return true }
    // A rule's own id, unless a position follows the source.
    guard
      second.elementsEqual(position)
        || (isOurs && EventPosition(String(decoding: second, as: UTF8.self)) != nil)
    else { return true }
    return marks.rule.map { others.contains(String(decoding: $0, as: UTF8.self)) } ?? false
  }

  private static func isNoColon(_ byte: UInt8) -> Bool { byte != UInt8(ascii: ":") }
}

/// Decides which stored messages are this bridge's: the one decision that resuming, checkpoints,
/// snapshots, verification and dead letters share (docs/guarantees.md, "Whose message it is").
package struct MessageOwnership: Sendable {
  private let bridge: String
  private let exclusive: Set<String>
  private var ids: PositionalIDs?
  /// Messages beyond it aren't ours: no majority had their events when the streams were read.
  package var newest: OplogPosition?

  /// - Parameter source: nil: it isn't known, and messages aren't recognized by their ids.
  package init(_ configuration: BridgeConfiguration, source: String? = nil) {
    bridge = configuration.bridge.name
    ids = source.map { PositionalIDs(source: $0, rules: configuration.rules) }
    exclusive = Set(
      configuration.streams.filter { $0.ownership == .exclusive }.map(\.name))
  }

  /// After a change of the rules.
  mutating func use(_ rules: [Rule]) { ids?.use(rules) }

  package func of(_ stream: String) -> InStream {
    InStream(bridge: bridge, isExclusive: exclusive.contains(stream), ids: ids)
  }

  /// The message as one of ours that shows how far its stream is; nil if it was published by another
  /// producer, in the place of one, or replayed by an operator.
  ///
  /// `acknowledged`: the stream's part of the checkpoint. It proves that the message it names is ours, even if
  /// the message names no bridge.
  package func own(
    _ message: StoredMessage, in stream: String, acknowledged: Checkpoint.Stream? = nil
  ) -> StreamObservation.Own? {
    var found = message.headerBlock.withUnsafeBytes { block in
      own(block, sequence: message.sequence, in: stream, acknowledged: acknowledged)
    }
    if Self.mayBeBucket(stream) { found?.subject = message.subject }
    return found
  }

  /// By its name: other streams' messages are looked at without their subjects.
  static func mayBeBucket(_ stream: String) -> Bool { stream.hasPrefix("KV_") }

  /// The same for a header block.
  package func own(
    _ block: UnsafeRawBufferPointer, sequence: UInt64, in stream: String,
    acknowledged: Checkpoint.Stream?
  ) -> StreamObservation.Own? {
    let marks = MessageMarks(block)
    guard !marks.isReplayed, !marks.isFilled, let position = marks.position, let rule = marks.rule
    else {
      return nil
    }
    if let newest, position.entry > newest { return nil }
    let own = StreamObservation.Own(
      sequence: sequence, position: position, rule: RuleID(String(decoding: rule, as: UTF8.self)),
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

extension MessageOwnership {
  /// Decides which messages of one stream are this bridge's.
  package struct InStream: Sendable {
    private let bridge: [UInt8]
    /// Only this bridge publishes to the stream, so messages without a bridge's name are its own.
    private let isExclusive: Bool
    /// Nil: ids aren't checked.
    private let ids: PositionalIDs?

    package init(bridge: String, isExclusive: Bool, ids: PositionalIDs? = nil) {
      self.bridge = Array(bridge.utf8)
      self.isExclusive = isExclusive
      self.ids = ids
    }

    package func owner(of marks: MessageMarks) -> MessageOwner {
      guard marks.isOfBridge else { return .nobody }
      if DeliberateError.isOn(.othersMessageTaken) { return .thisBridge }
      if marks.isCopy { return .anotherBridge }
      guard let name = marks.bridge else {
        guard isExclusive else { return .unnamed }
        return ids.map { $0.allow(marks) } ?? true ? .thisBridge : .anotherBridge
      }
      return name.elementsEqual(bridge) ? .thisBridge : .anotherBridge
    }

    package func owner(of message: StoredMessage) -> MessageOwner {
      message.headerBlock.withUnsafeBytes { owner(of: MessageMarks($0)) }
    }
  }
}
