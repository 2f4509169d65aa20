import BSON
import Testing

@Suite struct BSONViewTests {
  @Test func readsEveryTypeBack() throws {
    let bytes = document { writer in
      writer.append(key: "double", double: 1.5)
      writer.append(key: "string", string: "text")
      writer.append(key: "int32", int32: -7)
      writer.append(key: "int64", int64: 1 << 40)
      writer.append(key: "bool", bool: true)
      writer.append(key: "date", date: -1)
      writer.append(key: "timestamp", timestamp: 3_000_000_000, increment: 4)
      writer.appendElement(type: .binary, key: "binary", value: hex("02000000 80 CAFE"))
      writer.appendElement(type: .binary, key: "old", value: hex("06000000 02 02000000 CAFE"))
      writer.appendElement(type: .binary, key: "uuid", value: hex("10000000 04") + Array(0..<16))
      writer.appendElement(type: .regex, key: "regex", value: cString("^a") + cString("i"))
      writer.appendElement(
        type: .dbPointer, key: "pointer", value: bsonString("a.b") + Array(0..<12))
      writer.appendElement(
        type: .javascriptWithScope, key: "code",
        value: hex("11000000") + bsonString("f()") + hex("05000000 00"))
    }
    try bytes.withUnsafeBytes { raw in
      let view = try BSONView(raw)
      func element(_ key: StaticString) throws -> BSONElement {
        try #require(try view.first(key), "\(key)")
      }
      #expect(try element("double").double == 1.5)
      #expect(try element("string").string?.equals("text") == true)
      #expect(try element("int32").int32 == -7)
      #expect(try element("int32").integer == -7)
      #expect(try element("int64").int64 == 1 << 40)
      #expect(try element("int64").integer == 1 << 40)
      #expect(try element("bool").bool == true)
      #expect(try element("date").date == -1)
      #expect(try #require(try element("timestamp").timestamp) == (3_000_000_000, 4))
      let binary = try #require(try element("binary").binary)
      #expect(binary.subtype == 0x80 && Array(binary.bytes) == [0xCA, 0xFE])
      let old = try #require(try element("old").binary)
      #expect(old.subtype == 2 && Array(old.bytes) == [0xCA, 0xFE])
      #expect(try element("old").uuid == nil)
      #expect(try element("uuid").uuid.map { Array($0) } == Array(0..<16))
      let regex = try #require(try element("regex").regex)
      #expect(regex.pattern.equals("^a") && regex.options.equals("i"))
      let pointer = try #require(try element("pointer").dbPointer)
      #expect(pointer.namespace.equals("a.b") && Array(pointer.id) == Array(0..<12))
      let code = try #require(try element("code").codeWithScope)
      #expect(code.code.equals("f()") && code.scope.isEmpty)
      // Accessors of other types return nil.
      #expect(try element("int32").int64 == nil)
      #expect(try element("string").document == nil)
      #expect(try element("code").string == nil)
      #expect(try view.first("absent") == nil)
    }
  }

  @Test func viewEndsWhereItsLengthSays() throws {
    let bytes = document { $0.append(key: "a", int32: 1) } + [1, 2, 3]
    try bytes.withUnsafeBytes { raw in
      let view = try BSONView(raw)
      #expect(view.bytes.count == bytes.count - 3)
    }
  }

  /// Invalid bytes, and the offset that the error must have.
  @Test(
    arguments: [
      ("", .truncated, 0),
      ("05000000", .truncated, 0),
      ("04000000 00", .badLength(4), 0),
      ("06000000 00", .badLength(6), 0),
      ("FFFFFFFF 00", .badLength(-1), 0),
      ("05000000 01", .missingTerminator, 4),
      ("07000000 14 00 00", .unknownType(0x14), 4),
      ("07000000 80 00 00", .unknownType(0x80), 4),
      ("08000000 10 6161 00", .missingTerminator, 5),
      ("0B000000 10 6100 000000 00", .truncated, 7),
      ("0E000000 01 6100 00000000 000000", .truncated, 7),
      ("08000000 08 6100 00", .truncated, 7),
      ("09000000 08 6100 02 00", .badBoolean(2), 7),
      ("0A000000 02 6100 0000 00", .truncated, 7),
      ("0D000000 02 6100 00000000 00 00", .badLength(0), 7),
      ("0D000000 02 6100 FFFFFF7F 00 00", .badLength(0x7FFF_FFFF), 7),
      ("0D000000 02 6100 01000000 61 00", .missingTerminator, 11),
      ("0D000000 03 6100 04000000 00 00", .badLength(4), 7),
      ("0D000000 04 6100 06000000 00 00", .badLength(6), 7),
      ("0D000000 03 6100 05000000 01 00", .missingTerminator, 11),
      ("0D000000 05 6100 01000000 00 00", .badLength(1), 7),
      ("0D000000 05 6100 FFFFFFFF 00 00", .badLength(-1), 7),
      ("0A000000 0B 6100 6100 00", .missingTerminator, 7),
      ("15000000 0C 6100 01000000 01 00000000 00000000 00", .badLength(1), 7),
      ("1A000000 0C 6100 02000000 6162 00000000 00000000 00000000 00", .missingTerminator, 12),
      ("16000000 0F 6100 0E000000 02000000 00 05000000 00 00", .badLength(2), 11),
      ("16000000 0F 6100 0E000000 01000000 00 06000000 00 00", .badLength(6), 16),
      ("16000000 0F 6100 0E000000 01000000 61 05000000 00 00", .missingTerminator, 15),
      ("16000000 0F 6100 0E000000 01000000 00 05000000 01 00", .missingTerminator, 20),
      ("16000000 0F 6100 0D000000 01000000 00 05000000 00 00", .badLength(13), 7),
    ] as [(String, BSONError.Reason, Int)])
  func corruptionIsNamedWithItsPlace(
    digits: String, reason: BSONError.Reason, offset: Int
  ) throws {
    let bytes = hex(digits)
    let walking = error {
      try bytes.withUnsafeBytes { raw in
        var walk = try BSONView(raw).elements()
        while try walk.next() != nil {}
      }
    }
    #expect(walking == BSONError(reason, at: offset))
    let validating = error {
      try bytes.withUnsafeBytes { try BSONView($0).validate(utf8: true) }
    }
    #expect(validating == BSONError(reason, at: offset))
    for style in [JSONStyle.simplified, .relaxed, .canonical] {
      #expect(error { _ = try json(bytes, style) } == BSONError(reason, at: offset))
    }
  }

  /// Bytes that this module rejects and `bson_validate` accepts, as documented in `docs/types.md`.
  @Test(arguments: [
    // A nested document's length is impossible, or its final NUL is missing.
    "0C000000 03 6100 04000000 00",
    "0D000000 03 6100 05000000 01 00",
    // The final NUL of code with scope, or of its scope, is missing.
    "16000000 0F 6100 0E000000 01000000 61 05000000 00 00",
    "16000000 0F 6100 0E000000 01000000 00 05000000 01 00",
    // An unknown type after code with a scope.
    "19000000 0F 6100 0E000000 01000000 00 05000000 00 14 6200 00",
    // Text that isn't UTF-8, and an unknown type after that.
    "0E000000 0E 6100 02000000 FF 00 00",
    "0B000000 0B 6100 FF00 00 00",
    "11000000 0E 6100 02000000 FF 00 14 6200 00",
  ])
  func libBSONIsLaxer(digits: String) {
    let bytes = hex(digits)
    #expect(LibBSON.accepts(bytes))
    #expect(error { try bytes.withUnsafeBytes { try BSONView($0).validate(utf8: true) } } != nil)
  }

  @Test func errorSaysWhatAndWhere() {
    #expect(
      BSONError(.unknownType(0x14), at: 9).description
        == "corrupt BSON at byte 9: unknown BSON type 0x14")
  }

  /// `depth` nested documents.
  static func nested(_ depth: Int, type: BSONType = .document) -> [UInt8] {
    var inner = document { $0.append(key: "x", int32: 1) }
    for _ in 1..<depth { inner = document(of: type, inner) }
    return inner
  }

  @Test(arguments: [BSONType.document, .array])
  func nestingIsLimited(type: BSONType) throws {
    let deep = Self.nested(BSONView.maximumDepth, type: type)
    try deep.withUnsafeBytes { try BSONView($0).validate(utf8: true) }
    _ = try StrictJSON.tokens(Array(try json(deep, .simplified).utf8))

    let tooDeep = Self.nested(BSONView.maximumDepth + 1, type: type)
    // Each level adds its length, its type and "v".
    let offset = BSONView.maximumDepth * 7
    let validating = error {
      try tooDeep.withUnsafeBytes { try BSONView($0).validate(utf8: false) }
    }
    #expect(validating == BSONError(.tooDeep, at: offset))
    for style in [JSONStyle.simplified, .relaxed, .canonical] {
      #expect(error { _ = try json(tooDeep, style) } == BSONError(.tooDeep, at: offset))
    }
  }

  @Test(arguments: [
    (BSONType.string, bsonString("a").dropLast(2) + [0xFF, 0]),
    (.javascript, bsonString("a").dropLast(2) + [0xFF, 0]),
    (.symbol, bsonString("a").dropLast(2) + [0xFF, 0]),
  ])
  func textIsCheckedWhereAsked(type: BSONType, value: [UInt8]) throws {
    let inner = document(of: type, value)
    let outer = document(of: .document, inner)
    // 4 length, 1 type, 2 "v", twice, and the string's length.
    let expected = BSONError(.invalidUTF8, at: 7 + 7 + 4)
    try outer.withUnsafeBytes { raw in
      let view = try BSONView(raw)
      try view.validate(utf8: false)
      #expect(error { try view.validate(utf8: true) } == expected)
    }
    for style in [JSONStyle.simplified, .relaxed, .canonical] {
      #expect(error { _ = try json(outer, style) } == expected)
    }
  }

  @Test func keysAreCheckedToo() throws {
    let bytes = hex("09000000 0A 61FF00 00")
    try bytes.withUnsafeBytes { raw in
      let view = try BSONView(raw)
      try view.validate(utf8: false)
      #expect(error { try view.validate(utf8: true) } == BSONError(.invalidUTF8, at: 6))
    }
    #expect(error { _ = try json(bytes, .simplified) } == BSONError(.invalidUTF8, at: 6))
  }

  @Test func equalityOfBytes() {
    let long: StaticString = "a key of nineteen b"
    Array("a key of nineteen b".utf8).withUnsafeBytes { #expect($0.equals(long)) }
    Array("a key of nineteen c".utf8).withUnsafeBytes { #expect(!$0.equals(long)) }
    Array("b key of nineteen b".utf8).withUnsafeBytes { #expect(!$0.equals(long)) }
    Array("a key".utf8).withUnsafeBytes { #expect(!$0.equals(long)) }
    #expect(UnsafeRawBufferPointer(start: nil, count: 0).equals(""))
  }
}
