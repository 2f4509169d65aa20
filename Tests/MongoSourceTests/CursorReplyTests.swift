import BSON
import MongoSource
import Oplog
import Testing

@Suite struct CursorReplyTests {
  static func document(_ build: (inout ByteWriter) -> Void) -> [UInt8] {
    var writer = ByteWriter()
    let document = writer.beginDocument()
    build(&writer)
    writer.endDocument(document)
    return Array(writer.bytes)
  }

  /// The fields after the batch in a reply.
  static func finish(_ writer: inout ByteWriter, cursor: Int) {
    writer.append(key: "id", int64: 42)
    writer.endDocument(cursor)
    writer.append(key: "ok", double: 1)
    writer.append(key: "operationTime", timestamp: 900, increment: 1)
  }

  static func reply(
    _ entries: [(seconds: UInt32, increment: UInt32)], batch: StaticString = "nextBatch"
  ) -> [UInt8] {
    document { writer in
      let cursor = writer.beginDocument(key: "cursor")
      let array = writer.beginArray(key: batch)
      for (i, (seconds, increment)) in entries.enumerated() {
        let entry = writer.beginDocument(index: i)
        writer.append(key: "op", string: "i")
        writer.append(key: "ts", timestamp: seconds, increment: increment)
        writer.append(key: "t", int64: 7)
        writer.endDocument(entry)
      }
      writer.endDocument(array)
      finish(&writer, cursor: cursor)
    }
  }

  @Test(arguments: [false, true])
  func tellsCursorBatchAndEnds(first: Bool) throws {
    let bytes = Self.reply(
      [(5, 1), (5, 2), (6, 1)], batch: first ? "firstBatch" : "nextBatch")
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

  @Test func anEntryFromBeforeTheFirstElectionHasNoTerm() throws {
    let bytes = Self.document { writer in
      let cursor = writer.beginDocument(key: "cursor")
      let array = writer.beginArray(key: "firstBatch")
      let entry = writer.beginDocument(index: 0)
      writer.append(key: "ts", timestamp: 5, increment: 1)
      writer.endDocument(entry)
      writer.endDocument(array)
      Self.finish(&writer, cursor: cursor)
    }
    try bytes.withUnsafeBytes { raw in
      let survey = try CursorReply(raw).survey()
      #expect(
        survey.first == ResumePoint(position: OplogPosition(seconds: 5, increment: 1), term: nil))
    }
  }

  @Test func whatIsNoCursorReplyIsRefused() {
    let wrong: [[UInt8]] = [
      [],
      [5, 0, 0, 0, 0],
      // No batch, no id, no cursor document.
      Self.document { writer in
        let cursor = writer.beginDocument(key: "cursor")
        writer.append(key: "id", int64: 1)
        writer.endDocument(cursor)
      },
      Self.document { writer in
        let cursor = writer.beginDocument(key: "cursor")
        writer.endDocument(writer.beginArray(key: "nextBatch"))
        writer.endDocument(cursor)
      },
      Self.document { $0.append(key: "cursor", int64: 1) },
      Array(Self.reply([(1, 1)]).dropLast(3)),
    ]
    for bytes in wrong {
      bytes.withUnsafeBytes { raw in
        _ = #expect(throws: CursorReply.Malformed.self) { try CursorReply(raw) }
      }
    }
  }

  @Test(arguments: [true, false])
  func whatIsNoOplogEntryIsRefused(isDocument: Bool) throws {
    let bytes = Self.document { writer in
      let cursor = writer.beginDocument(key: "cursor")
      let array = writer.beginArray(key: "nextBatch")
      if isDocument {
        let entry = writer.beginDocument(index: 0)
        writer.append(key: "t", int64: 1)
        writer.endDocument(entry)
      } else {
        writer.append(key: "0", int64: 1)
      }
      writer.endDocument(array)
      Self.finish(&writer, cursor: cursor)
    }
    try bytes.withUnsafeBytes { raw in
      let reply = try CursorReply(raw)
      #expect(throws: CursorReply.Malformed.self) { try reply.survey() }
    }
  }

  /// Sets each byte of a reply to values that yield wrong lengths: no crash, and invalid lengths are errors.
  @Test func damagedBytesNeverCrash() {
    let good = Self.reply([(5, 1), (5, 2), (5, 3), (5, 4)])
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
    var bytes = Self.reply([(5, 1), (5, 2), (5, 3), (5, 4)])
    // Entry 2 is an element "2" of type document.
    let at = try #require(
      bytes.indices.first { bytes[$0...].starts(with: [3, UInt8(ascii: "2"), 0]) })
    bytes[at + 4] = 0xFF
    try bytes.withUnsafeBytes { raw in
      let reply = try CursorReply(raw)
      let error = #expect(throws: CursorReply.Malformed.self) { try reply.survey() }
      #expect(error?.description.contains("near entry 2") == true)
    }
  }
}
