import Bridge
import Oplog
import SimulatedJetStream

/// Compares one stream with the truth, message by message, as they are stored.
struct StreamJudge {
  let index: Int
  let name: String
  let isExclusive: Bool
  /// How many of the expected messages are known to have been stored.
  private(set) var stored = 0
  /// The last sequence that was looked at.
  private var through: UInt64 = 0
  private var created: Int64?
  /// Of the message before: its entry and its batch.
  private var batch: (entry: OplogPosition, id: [UInt8])?
  /// When the last of our messages was stored.
  private(set) var movedAt: Int64 = 0
  /// Who published the last of our messages (`Publishers`), …
  private(set) var origin = 0
  /// … and how often that was another process than the one before.
  private(set) var handovers = 0

  init(_ index: Int, _ name: String, isExclusive: Bool) {
    self.index = index
    self.name = name
    self.isExclusive = isExclusive
  }

  /// Looks at what was stored since the last time; what is wrong with it, or nil.
  mutating func look(
    at stream: SimulatedStream, _ truth: Truth, bridge: String, _ publishers: Publishers, now: Int64
  ) -> String? {
    if created != stream.created {
      created = stream.created
      through = 0
      stored = 0
      batch = nil
      origin = 0
    }
    if stream.store.lastSequence < through { rewind(stream, truth, bridge: bridge) }
    while through < stream.store.lastSequence {
      through += 1
      guard let message = stream.store[through] else { continue }
      let before = stored
      if let wrong = take(message, truth, bridge: bridge) {
        return "\(wrong) (\(publishers.text(message.origin, after: origin)))"
      }
      movedAt = now
      if stored > before, let wrong = follow(message, publishers) { return wrong }
    }
    return nil
  }

  /// Epochs of leadership never interleave.
  private mutating func follow(_ message: StoredMessage, _ publishers: Publishers) -> String? {
    defer { origin = message.origin }
    if let last = publishers[origin], let next = publishers[message.origin],
      next.process != last.process
    {
      handovers += 1
    }
    return publishers.objection(to: message.origin, after: origin)
      .map { "\(name) \(message.sequence) \($0)" }
  }

  private mutating func take(
    _ message: StoredMessage, _ truth: Truth, bridge: String
  ) -> String? {
    guard let found = own(message, truth, bridge: bridge) else { return nil }
    let expected = truth.messages[index]
    guard stored < expected.count, expected[stored].position == found.position,
      expected[stored].fingerprint == found.fingerprint
    else {
      return "\(name) \(message.sequence): \(misplaced(found, expected))"
    }
    defer { stored += 1 }
    guard expected[stored].isWhole, let id = Self.batchID(message.headers) else {
      batch = nil
      return nil
    }
    defer { batch = (found.position.entry, id) }
    guard let batch, batch.entry == found.position.entry, batch.id != id else { return nil }
    return
      "\(name) \(message.sequence): \(found.position) is in another batch than the transaction's message before"
  }

  private func misplaced(
    _ found: (position: EventPosition, fingerprint: UInt64), _ expected: [Truth.Message]
  ) -> String {
    let known = expected.firstIndex { $0.position == found.position }
    guard let known else { return "\(found.position) is nothing that was committed" }
    guard expected[known].fingerprint == found.fingerprint else {
      return "\(found.position) has other contents"
    }
    if known < stored { return "\(found.position) is stored a second time" }
    return "holds \(found.position), expected \(expected[stored].position) (number \(stored))"
  }

  /// Of an atomic batch.
  private static func batchID(_ headers: [UInt8]) -> [UInt8]? {
    let name = Array("Nats-Batch-Id: ".utf8)
    var at = 0
    while at + name.count < headers.count {
      guard let end = headers[at...].firstIndex(of: 13) else { return nil }
      if headers[at..<end].starts(with: name) { return Array(headers[(at + name.count)..<end]) }
      at = end + 2
    }
    return nil
  }

  /// The stream has lost its newest messages: what is before them counts.
  private mutating func rewind(_ stream: SimulatedStream, _ truth: Truth, bridge: String) {
    through = stream.store.lastSequence
    stored = 0
    batch = nil
    origin = 0
    var sequence = through
    while sequence >= max(stream.store.firstSequence, 1) {
      if let message = stream.store[sequence], let found = own(message, truth, bridge: bridge) {
        let expected = truth.messages[index]
        stored =
          (expected.lastIndex {
            $0.position == found.position && $0.fingerprint == found.fingerprint
          } ?? -1) + 1
        origin = message.origin
        return
      }
      sequence -= 1
    }
  }

  private func own(
    _ message: StoredMessage, _ truth: Truth, bridge: String
  ) -> (position: EventPosition, fingerprint: UInt64)? {
    message.headers.withUnsafeBytes { headers in
      let marks = MessageMarks(headers)
      guard marks.isOfBridge, let position = marks.position else { return nil }
      if !isExclusive {
        guard let name = marks.bridge, name.elementsEqual(bridge.utf8) else { return nil }
      }
      var subject = message.subject
      return subject.withUTF8 { subject in
        message.payload.withUnsafeBytes { body in
          (position, truth.fingerprint(UnsafeRawBufferPointer(subject), headers: headers, body))
        }
      }
    }
  }
}
