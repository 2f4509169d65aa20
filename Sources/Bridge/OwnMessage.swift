import BSON
import BridgeConfiguration
import JetStream
import Mapping
package import Oplog

/// What the header lines of a stored message say of where it comes from: the only reader of such lines.
///
/// Its bytes are valid as long as the block that was read. Of a header that is in it twice, the
/// first counts.
package struct MessageMarks {
  /// `Nats-Msg-Id`; of a dead letter, the id of the message that it would have been.
  package private(set) var id: UnsafeRawBufferPointer?
  /// Nil also where it can't be read.
  package private(set) var position: EventPosition?
  package private(set) var rule: UnsafeRawBufferPointer?
  package private(set) var bridge: UnsafeRawBufferPointer?
  /// Of a snapshot's document.
  package private(set) var isSnapshot = false
  /// A dead letter that an operator made a message of.
  package private(set) var isReplayed = false
  /// `Tailrace-Error`: the code of a dead letter.
  package private(set) var error: UnsafeRawBufferPointer?
  /// `Tailrace-Error-Detail`
  package private(set) var errorDetail: UnsafeRawBufferPointer?
  /// The server copied it from another stream (`sources`, `republish`).
  package private(set) var isCopy = false
  private var hasPosition = false

  /// What a line is part of.
  private enum Part {
    case event, publishing
    /// The message's id, of which this is the event's part.
    case id(UnsafeRawBufferPointer)
  }

  /// Reads a header block as the server has it: with its version line, or empty.
  package init(_ block: UnsafeRawBufferPointer) {
    var lines = HeaderBlockLines(block)
    while let line = lines.next() { _ = read(line) }
  }

  /// Appends to `event` the lines that the event makes, without those of the way it was published.
  init(_ block: UnsafeRawBufferPointer, appendingEventLinesTo event: inout ByteWriter) {
    var lines = HeaderBlockLines(block)
    while let line = lines.next() {
      switch read(line) {
      case .event: event.append(line)
      case .id(let id):
        event.append("Nats-Msg-Id: ")
        event.append(id)
        event.append("\r\n")
      case .publishing: break
      }
    }
  }

  package var isDeadLetter: Bool { error != nil }

  /// Whether tailrace has made it, whichever bridge.
  package var isOfBridge: Bool { hasPosition || rule != nil }

  private mutating func read(_ line: UnsafeRawBufferPointer) -> Part {
    switch line.first {
    case UInt8(ascii: "N"): return readPublishing(line)
    case UInt8(ascii: "T"): return readOwn(line)
    default: return .event
    }
  }

  private mutating func readPublishing(_ line: UnsafeRawBufferPointer) -> Part {
    if let value = line.value(of: "Nats-Msg-Id") {
      let event = DeadLetterID.wouldBe(value)
      id = id ?? event
      return event.count == value.count ? .event : .id(event)
    }
    guard line.starts(with: "Nats-") else { return .event }
    if line.value(of: "Nats-Stream-Source") != nil || line.value(of: "Nats-Stream") != nil {
      isCopy = true
    }
    return .publishing
  }

  private mutating func readOwn(_ line: UnsafeRawBufferPointer) -> Part {
    if let value = line.value(of: "Tailrace-Position") {
      if !hasPosition { position = EventPosition(String(decoding: value, as: UTF8.self)) }
      hasPosition = true
    } else if let value = line.value(of: "Tailrace-Rule") {
      rule = rule ?? value
    } else if let value = line.value(of: "Tailrace-Bridge") {
      bridge = bridge ?? value
    } else if line.value(of: "Tailrace-Snapshot") != nil {
      isSnapshot = true
    } else if let value = line.value(of: "Tailrace-Error") {
      error = error ?? value
    } else if let value = line.value(of: "Tailrace-Error-Detail") {
      errorDetail = errorDetail ?? value
    } else if line.value(of: "Tailrace-Replayed") != nil {
      isReplayed = true
      return .publishing
    }
    return .event
  }
}

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

/// The lines of a header block behind its version line, each with its end.
private struct HeaderBlockLines {
  private let block: UnsafeRawBufferPointer
  private var at: Int

  init(_ block: UnsafeRawBufferPointer) {
    self.block = block
    at = block.firstIndex(of: 0x0A).map { $0 + 1 } ?? block.count
  }

  mutating func next() -> UnsafeRawBufferPointer? {
    while at < block.count {
      let end = block[at...].firstIndex(of: 0x0A) ?? block.count - 1
      let line = UnsafeRawBufferPointer(rebasing: block[at...end])
      at = end + 1
      if line.count > 2 { return line }
    }
    return nil
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func starts(with literal: StaticString) -> Bool {
    let length = literal.utf8CodeUnitCount
    guard count >= length else { return false }
    for index in 0..<length where self[index] != literal.utf8Start[index] { return false }
    return true
  }

  /// What follows the name and its colon, without spaces around it.
  fileprivate func value(of name: StaticString) -> UnsafeRawBufferPointer? {
    var start = name.utf8CodeUnitCount
    guard starts(with: name), start < count, self[start] == UInt8(ascii: ":") else { return nil }
    start += 1
    var end = count
    while start < end, self[start] == UInt8(ascii: " ") { start += 1 }
    while end > start, self[end - 1] <= UInt8(ascii: " ") { end -= 1 }
    return UnsafeRawBufferPointer(rebasing: self[start..<end])
  }
}
