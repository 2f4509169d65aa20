import Bridge
import JetStream
import NATS
import Parity

/// A fault that the self-test puts into a stream, and how it has to be called.
public enum SelftestFault: String, Sendable, CaseIterable {
  case dropped, doubled, swapped, moved, removed, phantom
  case bodyByte = "body_byte"
  case header, subject
  case staleSchema = "stale_schema"
  case truncatedTail = "truncated_tail"

  var wanted: MismatchClass {
    switch self {
    case .dropped, .truncatedTail: .missing
    case .doubled: .duplicate
    case .swapped, .moved: .reordered
    case .removed: .gap
    case .phantom: .extra
    case .bodyByte, .header, .subject: .payloadMismatch
    case .staleSchema: .schemaInvalid
    }
  }
}

/// A message on its way into the scratch stream.
struct ScratchMessage: Sendable {
  var subject: String
  var headers: NATSHeaders
  var body: [UInt8]
  /// Not before the server has forgotten the one with the same id.
  var waits = false
}

/// What is put into the scratch stream, and what must be found.
struct SpoiltMessages: Sendable {
  var messages: [ScratchMessage]
  /// Sequences that are taken out afterwards.
  var removed: [UInt64] = []
  var wanted: [MismatchClass: UInt64] = [:]

  /// - Parameter fault: nil leaves everything as it should be.
  init(
    _ clean: [ScratchMessage], _ fault: SelftestFault?, _ random: inout some RandomNumberGenerator
  ) {
    messages = clean
    guard let fault else { return }
    let count = clean.count
    let at = Int.random(in: 1..<count - 3, using: &random)
    wanted[fault.wanted] = 1
    switch fault {
    case .dropped: messages.remove(at: at)
    case .truncatedTail:
      let gone = Int.random(in: 1...count / 2, using: &random)
      messages.removeLast(gone)
      wanted[.missing] = UInt64(gone)
    case .doubled:
      messages.insert(messages[at], at: at + 1)
      messages[at + 1].waits = true
    case .swapped: messages.swapAt(at, at + 1)
    case .moved:
      let moved = messages.remove(at: at)
      messages.insert(moved, at: Int.random(in: at + 2..<count, using: &random))
    case .removed: removed = [UInt64(at + 1)]
    case .phantom:
      messages.insert(messages[at], at: at + 1)
      messages[at + 1].headers["\(HeaderName.id)"] = "selftest:1.1.0"
    case .bodyByte:
      // Within a text, so that it stays JSON and keeps the schema.
      let quote = messages[at].body.lastIndex(of: UInt8(ascii: "~")) ?? 0
      messages[at].body[quote] = UInt8(ascii: "-")
    case .header: messages[at].headers["\(HeaderName.type)"] = "another"
    case .subject: messages[at].subject += ".another"
    case .staleSchema:
      // As it was before the schema asked for a version.
      let text = String(decoding: messages[at].body, as: UTF8.self)
      messages[at].body = Array(text.replacing(",\"version\":2", with: "").utf8)
    }
  }
}
