/// The headers of one message that mean something to the server, read in one pass.
struct ProtocolHeaders {
  var messageID = ""
  var expectedStream = ""
  var expectedLastID = ""
  /// Nil: not asserted. What is no number expects a sequence that no stream has.
  var expectedLastSequence: UInt64?
  var expectedSubjectSequence: UInt64?
  /// The subject whose last sequence is asserted, where that is not the message's own.
  var sequenceSubject = ""
  /// The header that names the subject precedes the one with the sequence: old servers find neither.
  var isSequenceHidden = false
  /// In lower case.
  var rollup = ""
  var hasTTL = false
  var isFromSource = false
  var batchID = ""
  /// Nil: none, or no number.
  var batchSequence: UInt64?
  var batchCommit: String?

  /// From a whole header block, with its version line; empty where there is none.
  init(_ block: [UInt8]) {
    guard !block.isEmpty else { return }
    block.withUnsafeBufferPointer { read($0) }
  }

  private mutating func read(_ block: UnsafeBufferPointer<UInt8>) {
    var line = Self.lineEnd(block, 0) + 2
    while line < block.count {
      let end = Self.lineEnd(block, line)
      // All of them begin with "Nats-".
      if end - line > 6, block[line] == 78, block[line + 4] == 45,
        let colon = Self.colon(block, line, end)
      {
        var value = colon + 1
        while value < end, block[value] == 32 { value += 1 }
        take(
          UnsafeBufferPointer(rebasing: block[(line + 5)..<colon]),
          UnsafeBufferPointer(rebasing: block[value..<end]))
      }
      line = end + 2
    }
  }

  /// The first header of a name counts.
  private mutating func take(
    _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>
  ) {
    func named(_ literal: StaticString) -> Bool {
      guard name.count == literal.utf8CodeUnitCount else { return false }
      for index in 0..<name.count where name[index] != literal.utf8Start[index] { return false }
      return true
    }
    func text() -> String { String(decoding: value, as: UTF8.self) }
    guard !value.isEmpty else {
      if named("Batch-Commit"), batchCommit == nil { batchCommit = "" }
      return
    }
    if named("Msg-Id") {
      if messageID.isEmpty { messageID = text() }
    } else if named("Expected-Last-Sequence") {
      if expectedLastSequence == nil { expectedLastSequence = Self.number(value) ?? .max }
    } else if named("Expected-Last-Msg-Id") {
      if expectedLastID.isEmpty { expectedLastID = text() }
    } else if named("Expected-Last-Subject-Sequence") {
      if expectedSubjectSequence == nil {
        expectedSubjectSequence = Self.number(value) ?? .max
        isSequenceHidden = !sequenceSubject.isEmpty
      }
    } else if named("Expected-Last-Subject-Sequence-Subject") {
      if sequenceSubject.isEmpty { sequenceSubject = text() }
    } else if named("Expected-Stream") {
      if expectedStream.isEmpty { expectedStream = text() }
    } else if named("Batch-Id") {
      if batchID.isEmpty { batchID = text() }
    } else if named("Batch-Sequence") {
      if batchSequence == nil { batchSequence = Self.number(value) }
    } else if named("Batch-Commit") {
      if batchCommit == nil { batchCommit = text() }
    } else if named("Rollup") {
      if rollup.isEmpty { rollup = text().lowercased() }
    } else if named("TTL") {
      hasTTL = true
    } else if named("Stream-Source") {
      isFromSource = true
    }
  }

  static func number(_ digits: UnsafeBufferPointer<UInt8>) -> UInt64? {
    guard !digits.isEmpty else { return nil }
    var value: UInt64 = 0
    for digit in digits {
      guard digit >= 48, digit <= 57 else { return nil }
      let (product, over) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(digit - 48))
      guard !over, !carry else { return nil }
      value = sum
    }
    return value
  }

  private static func lineEnd(_ block: UnsafeBufferPointer<UInt8>, _ from: Int) -> Int {
    var at = from
    while at < block.count, !(block[at] == 13 && at + 1 < block.count && block[at + 1] == 10) {
      at += 1
    }
    return at
  }

  private static func colon(_ block: UnsafeBufferPointer<UInt8>, _ from: Int, _ end: Int) -> Int? {
    var at = from
    while at < end, block[at] != 58 { at += 1 }
    return at < end ? at : nil
  }
}
