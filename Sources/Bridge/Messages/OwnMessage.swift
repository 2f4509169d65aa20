package import BSON
import JetStream
import Mapping
package import Oplog

/// Names of the headers that identify a message's origin.
package enum HeaderName {
  package static let id: StaticString = "Nats-Msg-Id"
  package static let position: StaticString = "Tailrace-Position"
  package static let rule: StaticString = "Tailrace-Rule"
  package static let bridge: StaticString = "Tailrace-Bridge"
  package static let snapshot: StaticString = "Tailrace-Snapshot"
  package static let image: StaticString = "Tailrace-Image"
  package static let error: StaticString = "Tailrace-Error"
  package static let errorDetail: StaticString = "Tailrace-Error-Detail"
  package static let subject: StaticString = "Tailrace-Subject"
  /// Marks a message that `tailrace dlq replay` published; its value is the letter's sequence.
  package static let replayed: StaticString = "Tailrace-Replayed"
  /// Marks a message that the bridge published in a producer's place, after the grace.
  package static let filled: StaticString = "Tailrace-Filled"
  package static let rollup: StaticString = "Nats-Rollup"
  package static let timeToLive: StaticString = "Nats-TTL"
  package static let type: StaticString = "ce-type"
  package static let source: StaticString = "ce-source"
  package static let eventID: StaticString = "ce-id"
}

/// A message's origin, by its header lines: the only parser of those lines.
///
/// If a header occurs twice, the first one counts.
///
/// Safety invariant: all pointers lead into the block that was read, which the caller keeps alive and
/// unchanged while it uses them. Not Sendable.
package struct MessageMarks {
  /// `Nats-Msg-Id`; of a dead letter, the id of the message that it would have been.
  package private(set) var id: UnsafeRawBufferPointer?
  /// The same as it is stored.
  package private(set) var storedID: UnsafeRawBufferPointer?
  /// Nil also where it can't be read.
  package private(set) var position: EventPosition?
  /// As it is written.
  package private(set) var positionText: UnsafeRawBufferPointer?
  package private(set) var rule: UnsafeRawBufferPointer?
  package private(set) var bridge: UnsafeRawBufferPointer?
  /// Of a snapshot's document.
  package private(set) var isSnapshot = false
  /// A dead letter that an operator replayed.
  package private(set) var isReplayed = false
  /// The bridge published it in a producer's place: out of the oplog's order, so it says nothing of other events.
  package private(set) var isFilled = false
  /// `Tailrace-Error`: the code of a dead letter.
  package private(set) var error: UnsafeRawBufferPointer?
  /// `Tailrace-Error-Detail`
  package private(set) var errorDetail: UnsafeRawBufferPointer?
  /// The server copied it from another stream (`sources`, `republish`).
  package private(set) var isCopy = false
  private let block: UnsafeRawBufferPointer

  /// What a line is part of.
  private enum Part {
    case event, publishing
    /// The message's id, of which this is the event's part.
    case id(UnsafeRawBufferPointer)
  }

  /// Reads a header block as the server has it, or header lines without a version line before them.
  package init(_ block: UnsafeRawBufferPointer) {
    self.block = block
    var lines = HeaderBlockLines(block)
    while let line = lines.next() { _ = read(line) }
  }

  /// Appends to `event` the lines that depend on the event, without those of the publish protocol.
  package init(_ block: UnsafeRawBufferPointer, appendingEventLinesTo event: inout ByteWriter) {
    self.block = block
    var lines = HeaderBlockLines(block)
    while let line = lines.next() {
      switch read(line) {
      case .event: event.append(line)
      case .id(let id):
        event.append(HeaderName.id)
        event.append(": ")
        event.append(id)
        event.append("\r\n")
      case .publishing: break
      }
    }
  }

  package var isDeadLetter: Bool { error != nil }

  /// Whether any bridge of tailrace made it.
  package var isOfBridge: Bool { positionText != nil || rule != nil }

  // MARK: - Rarely used headers

  /// What kind of document `fullDocument` is.
  package var image: UnsafeRawBufferPointer? { value(of: HeaderName.image) }
  /// The subject that a dead letter's message would have had.
  package var subject: UnsafeRawBufferPointer? { value(of: HeaderName.subject) }
  package var type: UnsafeRawBufferPointer? { value(of: HeaderName.type) }
  package var source: UnsafeRawBufferPointer? { value(of: HeaderName.source) }

  private func value(of name: StaticString) -> UnsafeRawBufferPointer? {
    var lines = HeaderBlockLines(block)
    while let line = lines.next() {
      if let value = line.value(of: name) { return value }
    }
    return nil
  }

  /// Whether the id holds the event's position, or its document and snapshot.
  package var namesEvent: Bool {
    guard let id = storedID, let position = positionText else { return false }
    if id.has(":", then: position, endingWith: UInt8(ascii: ":"), orEnd: true) { return true }
    guard isSnapshot, let dot = position.lastIndex(of: UInt8(ascii: ".")) else { return false }
    let entry = UnsafeRawBufferPointer(rebasing: position[..<dot])
    return id.has(":snapshot:", then: entry, endingWith: UInt8(ascii: ":"), orEnd: false)
  }

  // MARK: - Reading

  private mutating func read(_ line: UnsafeRawBufferPointer) -> Part {
    switch line.first {
    case UInt8(ascii: "N"): return readPublishing(line)
    case UInt8(ascii: "T"): return readOwn(line)
    default: return .event
    }
  }

  private mutating func readPublishing(_ line: UnsafeRawBufferPointer) -> Part {
    if let value = line.value(of: HeaderName.id) {
      let event = DeadLetterID.wouldBe(value)
      id = id ?? event
      storedID = storedID ?? value
      return event.count == value.count ? .event : .id(event)
    }
    guard line.starts(with: "Nats-") else { return .event }
    // Of an entry of a bucket: they decide how long it is kept, not how it was published.
    if line.value(of: HeaderName.rollup) != nil || line.value(of: HeaderName.timeToLive) != nil {
      return .event
    }
    if line.value(of: "Nats-Stream-Source") != nil || line.value(of: "Nats-Stream") != nil {
      isCopy = true
    }
    return .publishing
  }

  private mutating func readOwn(_ line: UnsafeRawBufferPointer) -> Part {
    if let value = line.value(of: HeaderName.position) {
      if positionText == nil {
        positionText = value
        position = EventPosition(utf8: value)
      }
    } else if let value = line.value(of: HeaderName.rule) {
      rule = rule ?? value
    } else if let value = line.value(of: HeaderName.bridge) {
      bridge = bridge ?? value
    } else if line.value(of: HeaderName.snapshot) != nil {
      isSnapshot = true
    } else if let value = line.value(of: HeaderName.error) {
      error = error ?? value
    } else if let value = line.value(of: HeaderName.errorDetail) {
      errorDetail = errorDetail ?? value
    } else if line.value(of: HeaderName.replayed) != nil {
      isReplayed = true
      return .publishing
    } else if line.value(of: HeaderName.filled) != nil {
      isFilled = true
      return .publishing
    }
    return .event
  }
}

/// The same as a value that outlives the block.
package struct OwnMessage: Sendable {
  /// See `MessageMarks`; empty where there is none.
  package let id: String
  package let storedID: String
  package let position: EventPosition?
  package let positionText: String?
  package let rule: String?
  package let bridge: String?
  package let error: String?
  package let errorDetail: String?
  package let subject: String?
  package let image: String?
  package let source: String?
  package let isSnapshot: Bool
  /// Its id identifies its event.
  let isNamedByEvent: Bool

  package init(_ marks: MessageMarks) {
    func text(_ bytes: UnsafeRawBufferPointer?) -> String? {
      bytes.map { String(decoding: $0, as: UTF8.self) }
    }
    id = text(marks.id) ?? ""
    storedID = text(marks.storedID) ?? ""
    position = marks.position
    positionText = text(marks.positionText)
    rule = text(marks.rule)
    bridge = text(marks.bridge)
    error = text(marks.error)
    errorDetail = text(marks.errorDetail)
    subject = text(marks.subject)
    image = text(marks.image)
    source = text(marks.source)
    isSnapshot = marks.isSnapshot
    isNamedByEvent = marks.namesEvent
  }

  package init(_ block: [UInt8]) {
    self = block.withUnsafeBytes { OwnMessage(MessageMarks($0)) }
  }

  package init(lines: String) { self.init(Array(lines.utf8)) }
}

extension StoredMessage {
  package var own: OwnMessage { OwnMessage(headerBlock) }

  /// The headers that depend on the event, without those of the publish protocol.
  package var eventFields: [(name: String, value: String)] {
    var lines = ByteWriter(capacity: 1024)
    headerBlock.withUnsafeBytes { _ = MessageMarks($0, appendingEventLinesTo: &lines) }
    return HeaderLines.fields(String(decoding: lines.bytes, as: UTF8.self))
  }
}

/// The lines of a header block behind its version line, each with its end. Borrows the block.
private struct HeaderBlockLines {
  private let block: UnsafeRawBufferPointer
  private var at: Int

  init(_ block: UnsafeRawBufferPointer) {
    self.block = block
    at = 0
    guard block.starts(with: "NATS/") else { return }
    at = block.firstIndex(of: 0x0A).map { $0 + 1 } ?? block.count
  }

  mutating func next() -> UnsafeRawBufferPointer? {
    while at < block.count {
      var end = at
      while end < block.count - 1, block[end] != 0x0A { end += 1 }
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

  /// Whether it contains `first` directly followed by `second`, and then `last` (or its end).
  fileprivate func has(
    _ first: StaticString, then second: UnsafeRawBufferPointer, endingWith last: UInt8, orEnd: Bool
  ) -> Bool {
    for place in indices
    where UnsafeRawBufferPointer(rebasing: self[place...]).starts(with: first) {
      let start = place + first.utf8CodeUnitCount
      let end = start + second.count
      guard end <= count, self[start..<end].elementsEqual(second) else { continue }
      if end == count ? orEnd : self[end] == last { return true }
    }
    return false
  }
}
