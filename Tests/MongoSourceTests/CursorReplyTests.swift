import BSON
import MongoSource
import Oplog
import Testing

@Suite struct CursorReplyTests {
  /// Just enough of BSON's writing side to make replies, right and wrong.
  struct Document {
    var bytes: [UInt8] = [0, 0, 0, 0]

    func element(_ type: UInt8, _ key: String, _ value: [UInt8]) -> Document {
      Document(bytes: bytes + [type] + Array(key.utf8) + [0] + value)
    }
    func document(_ key: String, _ inner: Document) -> Document {
      element(3, key, inner.closed)
    }
    func array(_ key: String, _ items: [Document]) -> Document {
      var array = Document()
      for (i, item) in items.enumerated() { array = array.document("\(i)", item) }
      return element(4, key, array.closed)
    }
    func timestamp(_ key: String, _ seconds: UInt32, _ increment: UInt32) -> Document {
      element(17, key, little(increment) + little(seconds))
    }
    func int64(_ key: String, _ value: Int64) -> Document {
      element(18, key, (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) })
    }
    var closed: [UInt8] { little(UInt32(bytes.count + 1)) + bytes[4...] + [0] }

    private func little(_ value: UInt32) -> [UInt8] {
      (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
    }
  }

  static func entry(_ seconds: UInt32, _ increment: UInt32, term: Int64 = 7) -> Document {
    Document().element(2, "op", [2, 0, 0, 0, 0x69, 0]).timestamp("ts", seconds, increment)
      .int64("t", term)
  }

  static func reply(_ entries: [Document], batch: String = "nextBatch") -> [UInt8] {
    Document()
      .document("cursor", Document().array(batch, entries).int64("id", 42))
      .element(1, "ok", [0, 0, 0, 0, 0, 0, 0xF0, 0x3F])
      .timestamp("operationTime", 900, 1)
      .closed
  }

  @Test(arguments: ["nextBatch", "firstBatch"])
  func tellsCursorBatchAndEnds(batch: String) throws {
    let bytes = Self.reply([Self.entry(5, 1), Self.entry(5, 2), Self.entry(6, 1)], batch: batch)
    try bytes.withUnsafeBytes { raw in
      let reply = try CursorReply(raw)
      #expect(reply.cursor == 42)
      #expect(reply.operationTime == OplogPosition(seconds: 900, increment: 1))
      let survey = try reply.survey()
      #expect(survey.count == 3)
      #expect(
        survey.first
          == ResumePoint(position: OplogPosition(seconds: 5, increment: 1), term: 7))
      #expect(
        survey.last
          == ResumePoint(position: OplogPosition(seconds: 6, increment: 1), term: 7))
    }
  }

  @Test func anEmptyBatchIsNoError() throws {
    try Self.reply([]).withUnsafeBytes { raw in
      let survey = try CursorReply(raw).survey()
      #expect(survey.count == 0)
      #expect(survey.first == nil)
      #expect(survey.last == nil)
    }
  }

  @Test func anEntryOfTheFirstYearsHasNoTerm() throws {
    let old = Document().timestamp("ts", 5, 1)
    try Self.reply([old]).withUnsafeBytes { raw in
      let survey = try CursorReply(raw).survey()
      #expect(
        survey.first == ResumePoint(position: OplogPosition(seconds: 5, increment: 1), term: nil))
    }
  }

  @Test func whatIsNoCursorReplyIsRefused() {
    let wrong: [[UInt8]] = [
      [],
      [5, 0, 0, 0, 0],
      Document().document("cursor", Document().int64("id", 1)).closed,
      Document().document("cursor", Document().array("nextBatch", [])).closed,
      Document().int64("cursor", 1).closed,
      Array(Self.reply([Self.entry(1, 1)]).dropLast(3)),
    ]
    for bytes in wrong {
      bytes.withUnsafeBytes { raw in
        _ = #expect(throws: CursorReply.Malformed.self) { try CursorReply(raw) }
      }
    }
  }

  @Test func entriesWithoutPositionAreRefused() throws {
    let nameless = Document().int64("t", 1)
    for entries in [[nameless], [Self.entry(1, 1), nameless]] {
      try Self.reply(entries).withUnsafeBytes { raw in
        let reply = try CursorReply(raw)
        #expect(throws: CursorReply.Malformed.self) { try reply.survey() }
      }
    }
    // An array of numbers.
    let numbers = Document().element(4, "nextBatch", Document().int64("0", 3).closed)
    let bytes = Document().document("cursor", numbers.int64("id", 1)).closed
    try bytes.withUnsafeBytes { raw in
      let reply = try CursorReply(raw)
      #expect(throws: CursorReply.Malformed.self) { try reply.survey() }
    }
  }

  /// Every single byte of a reply set to every value that lengths are made of: no crash, and
  /// lengths that don't fit are errors.
  @Test func damagedBytesNeverCrash() {
    let good = Self.reply((1...4).map { Self.entry(5, UInt32($0)) })
    var refused = 0
    for at in good.indices {
      for value in [0x00, 0x01, 0x03, 0x7F, 0x80, 0xFF] as [UInt8] where good[at] != value {
        var bytes = good
        bytes[at] = value
        bytes.withUnsafeBytes { raw in
          do {
            _ = try CursorReply(raw).survey()
          } catch {
            refused += 1
          }
        }
      }
    }
    #expect(refused > good.count)
  }

  @Test func damageInTheMiddleNamesTheEntry() throws {
    var bytes = Self.reply((1...4).map { Self.entry(5, UInt32($0)) })
    // The length of entry 2, found by what surrounds it.
    let entry = Self.entry(5, 3).closed
    let at = try #require(
      bytes.indices.first { bytes[$0...].starts(with: entry) })
    bytes[at + 1] = 0xFF
    try bytes.withUnsafeBytes { raw in
      let reply = try CursorReply(raw)
      let error = #expect(throws: CursorReply.Malformed.self) { try reply.survey() }
      #expect(error?.description.contains("near entry 2") == true)
    }
  }
}
