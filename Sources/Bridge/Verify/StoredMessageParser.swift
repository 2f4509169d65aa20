import BSON
import NATS
import Oplog
import Parity

/// Takes a stored message apart: what of it is the event's, and what belongs to the way it was
/// published.
struct StoredMessageParser: ~Copyable {
  private var lines = ByteWriter(capacity: 1024)

  struct Parsed {
    var kind = ObservedRecord.Kind.foreign
    var position: EventPosition?
    /// Within the view's header block.
    var id: UnsafeRawBufferPointer?
    var rule: UnsafeRawBufferPointer?
    var digests: PartDigests
  }

  init() {}

  mutating func parse(_ view: borrowing NATSMessageView) -> Parsed {
    lines.removeAll()
    var parsed = Parsed(
      digests: PartDigests(
        subject: MessageDigest(view.subject), headers: MessageDigest(),
        body: MessageDigest(view.payload)))
    var hasPosition = false
    let block = view.headers
    var at = 0
    var isFirst = true
    while at < block.count {
      let end = block[at...].firstIndex(of: 0x0A) ?? block.count - 1
      let line = UnsafeRawBufferPointer(rebasing: block[at...end])
      at = end + 1
      if isFirst {
        isFirst = false
        continue
      }
      guard line.count > 2 else { continue }
      if let value = line.value(of: "Nats-Msg-Id: ") {
        parsed.id = value
      } else if line.starts(with: "Nats-") {
        // How it was published: expected sequences, batches.
        continue
      } else if let value = line.value(of: "Tailrace-Position: ") {
        hasPosition = true
        parsed.position = EventPosition(String(decoding: value, as: UTF8.self))
      } else if let value = line.value(of: "Tailrace-Rule: ") {
        parsed.rule = value
      } else if line.starts(with: "Tailrace-Snapshot: ") {
        parsed.kind = .snapshot
      } else if line.starts(with: "Tailrace-Replayed: ") {
        parsed.kind = .replayed
        continue
      }
      lines.append(line)
    }
    if parsed.kind == .foreign, hasPosition || parsed.rule != nil { parsed.kind = .own }
    parsed.digests.headers = MessageDigest(lines.bytes)
    return parsed
  }

  mutating func record(_ view: borrowing NATSMessageView, sequence: UInt64) -> (
    record: ObservedRecord, rule: UnsafeRawBufferPointer?
  ) {
    let parsed = parse(view)
    let digests = parsed.digests
    return (
      ObservedRecord(
        sequence: sequence, kind: parsed.kind, position: parsed.position,
        digest: MessageDigest(
          subject: digests.subject, headers: digests.headers, body: digests.body),
        id: parsed.id.map { MessageDigest($0) }, body: digests.body), parsed.rule
    )
  }

  mutating func detail(_ view: borrowing NATSMessageView, sequence: UInt64) -> RunJoin.Observed {
    let parsed = parse(view)
    func text(_ bytes: UnsafeRawBufferPointer?) -> String {
      bytes.map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
    return RunJoin.Observed(
      sequence: sequence, kind: parsed.kind, id: text(parsed.id), position: parsed.position,
      rule: text(parsed.rule), subject: text(view.subject), digests: parsed.digests)
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func starts(with literal: StaticString) -> Bool {
    let length = literal.utf8CodeUnitCount
    guard count >= length else { return false }
    for index in 0..<length where self[index] != literal.utf8Start[index] { return false }
    return true
  }

  /// What follows the name, up to the line's end.
  fileprivate func value(of name: StaticString) -> UnsafeRawBufferPointer? {
    guard starts(with: name) else { return nil }
    var end = count
    while end > name.utf8CodeUnitCount, self[end - 1] == 0x0A || self[end - 1] == 0x0D { end -= 1 }
    return UnsafeRawBufferPointer(rebasing: self[name.utf8CodeUnitCount..<end])
  }
}
