import BSON
import Oplog
import Testing

@Suite struct OplogErrorTests {
  private static let position = OplogPosition(seconds: 7, increment: 3)

  private func failure(_ json: String) throws -> OplogError? {
    try Document(json).use { Self.failure($0) }
  }

  private static func failure(_ entry: BSONView) -> OplogError? {
    var decoder = OplogDecoder()
    do {
      let all = try decoder.events(of: entry)
      Issue.record("no error, but \(all)")
      return nil
    } catch { return error }
  }

  /// Missing fields and wrong types in otherwise valid entries.
  @Test(arguments: [
    (#""ns":"a.b","o":{}"#, OplogError.Reason.missingField("op")),
    (#""op":"d","o":{}"#, .missingField("ns")),
    (#""op":"c","o":{"drop":"x"}"#, .missingField("ns")),
    (#""op":"d","ns":"a.b""#, .missingField("o")),
    (#""op":"c","ns":"a.$cmd""#, .missingField("o")),
    (#""op":"i","ns":"a.b","o":{"x":1}"#, .missingField("o._id")),
    (#""op":"u","ns":"a.b","o":{"_id":1}"#, .missingField("o2")),
    (#""op":"u","ns":"a.system.views","o":{"_id":"a.v"}"#, .missingField("_id")),
    (#""op":"c","ns":"a.$cmd","o":{"renameCollection":"a.b"}"#, .missingField("o.to")),
    (#""op":1,"ns":"a.b","o":{}"#, .wrongType(field: "op", found: .int32)),
    (#""op":"d","ns":null,"o":{}"#, .wrongType(field: "ns", found: .null)),
    (#""op":"d","ns":"a.b","o":[]"#, .wrongType(field: "o", found: .array)),
    (#""op":"d","ns":"a.b","o":{},"o2":"x""#, .wrongType(field: "o2", found: .string)),
    (#""op":"d","ns":"a.b","o":{},"ui":"x""#, .wrongType(field: "ui", found: .string)),
    (#""op":"n","o":{},"wall":1"#, .wrongType(field: "wall", found: .int32)),
    (#""op":"n","o":{},"lsid":1"#, .wrongType(field: "lsid", found: .int32)),
    (#""op":"n","o":{},"txnNumber":"1""#, .wrongType(field: "txnNumber", found: .string)),
    (#""op":"n","o":{},"prevOpTime":1"#, .wrongType(field: "prevOpTime", found: .int32)),
    (
      #""op":"n","o":{},"prevOpTime":{"ts":1}"#,
      .wrongType(field: "prevOpTime.ts", found: .int32)
    ),
    (#""op":"n","o":{},"fromMigrate":1"#, .wrongType(field: "fromMigrate", found: .int32)),
    (#""op":"n","o":{},"multiOpType":true"#, .wrongType(field: "multiOpType", found: .bool)),
    (#""op":"c","ns":"a.$cmd","o":{"drop":1}"#, .wrongType(field: "o.drop", found: .int32)),
    (#""op":"c","ns":"a.$cmd","o":{"create":null}"#, .wrongType(field: "o.create", found: .null)),
    (
      #""op":"c","ns":"a.$cmd","o":{"renameCollection":"a.b","to":1}"#,
      .wrongType(field: "o.to", found: .int32)
    ),
    (
      #""op":"c","ns":"a.$cmd","o":{"renameCollection":"a.b","to":"a.c","dropTarget":"x"}"#,
      .wrongType(field: "o.dropTarget", found: .string)
    ),
    (
      #""op":"c","ns":"a.$cmd","o":{"truncateRange":1}"#,
      .wrongType(field: "o.truncateRange", found: .int32)
    ),
    (#""op":"c","ns":"a.$cmd","o":{"applyOps":1}"#, .wrongType(field: "applyOps", found: .int32)),
    (
      #""op":"c","ns":"a.$cmd","o":{"applyOps":[1]}"#,
      .wrongType(field: "applyOps", found: .int32)
    ),
    (
      #""op":"c","ns":"a.$cmd","o":{"applyOps":[],"prepare":1}"#,
      .wrongType(field: "prepare", found: .int32)
    ),
    (
      #""op":"c","ns":"a.$cmd","o":{"applyOps":[],"partialTxn":1}"#,
      .wrongType(field: "partialTxn", found: .int32)
    ),
    (#""op":"i","ns":"a.system.views","o":{"_id":1}"#, .wrongType(field: "_id", found: .int32)),
    (#""op":"d","ns":"ab","o":{}"#, .badNamespace("ab")),
    (#""op":"d","ns":".b","o":{}"#, .badNamespace(".b")),
    (#""op":"d","ns":"a.","o":{}"#, .badNamespace("a.")),
    (#""op":"d","ns":"","o":{}"#, .badNamespace("")),
    (#""op":"c","ns":"a.$cmd","o":{"create":""}"#, .badNamespace("a.")),
    (#""op":"c","ns":"a","o":{"create":"b"}"#, .badNamespace("a")),
    (#""op":"i","ns":"a.system.views","o":{"_id":"v"}"#, .badNamespace("v")),
    (#""op":"x","ns":"a.b","o":{}"#, .unknownOperation("x")),
    (#""op":"","ns":"a.b","o":{}"#, .unknownOperation("")),
    (#""op":"ii","ns":"a.b","o":{}"#, .unknownOperation("ii")),
    (#""op":"km","ns":"a.b","o":{}"#, .unknownOperation("km")),
  ])
  func isNamedWithItsPlace(_ fields: String, _ reason: OplogError.Reason) throws {
    let error = try failure(#"{"ts":{"$timestamp":{"t":7,"i":3}},\#(fields)}"#)
    #expect(error == OplogError(reason, at: Self.position))
  }

  @Test func aUUIDHasSixteenBytesAndItsSubtype() throws {
    for (base64, subtype) in [("AAEC", "04"), ("AAECAwQFBgcICQoLDA0ODw==", "00")] {
      let error = try failure(
        #"""
        {\#(head),"op":"d","ns":"a.b","o":{},
         "ui":{"$binary":{"base64":"\#(base64)","subType":"\#(subtype)"}}}
        """#)
      #expect(error?.reason == .wrongType(field: "ui", found: .binary))
    }
  }

  @Test func aNewerFormatIsRefused() throws {
    let error = try failure(#"{"ts":{"$timestamp":{"t":7,"i":3}},"op":"n","o":{},"v":3}"#)
    #expect(error == OplogError(.unsupportedVersion(3), at: Self.position))
  }

  @Test func withoutATimestampThereIsNoPosition() throws {
    let missing = try failure(#"{"op":"n","ns":"","o":{}}"#)
    #expect(missing == OplogError(.missingField("ts")))
    let other = try failure(#"{"op":"n","ns":"","o":{},"ts":{"$date":{"$numberLong":"1"}}}"#)
    #expect(other == OplogError(.wrongType(field: "ts", found: .date)))
  }

  // MARK: Bytes that are not BSON

  private func corrupt(
    _ json: String, _ change: (inout [UInt8]) throws -> Void
  ) throws -> OplogError? {
    var bytes = try Document(json).bytes
    try change(&bytes)
    return try bytes.withUnsafeBytes { Self.failure(try BSONView($0)) }
  }

  private func offset(of pattern: [UInt8], in bytes: [UInt8]) throws -> Int {
    try #require(
      (0...(bytes.count - pattern.count)).first {
        Array(bytes[$0..<($0 + pattern.count)]) == pattern
      })
  }

  @Test func corruptBytesAreReportedWithThePosition() throws {
    let entry = #"{\#(head),"op":"i","ns":"a.b","o":{"x":1,"_id":1}}"#
    let length = try corrupt(entry) { bytes in
      // The length of the string "a.b".
      let at = try offset(of: Array("ns\u{0}".utf8), in: bytes) + 3
      bytes[at] = 200
    }
    guard case .corrupt(let error) = length?.reason else {
      Issue.record("\(String(describing: length))")
      return
    }
    #expect(error.reason == .badLength(200))
    #expect(length?.position == Self.position)

    let type = try corrupt(entry) { bytes in
      // The type of the field "x", within `o`.
      bytes[try offset(of: Array("x\u{0}".utf8), in: bytes) - 1] = 0x44
    }
    #expect(type == OplogError(.corrupt(BSONError(.unknownType(0x44), at: 4)), at: Self.position))
  }

  @Test func corruptBytesBeforeTheTimestampHaveNoPosition() throws {
    let error = try corrupt(#"{"op":"i",\#(head)}"#) { $0[4] = 0x44 }
    #expect(error == OplogError(.corrupt(BSONError(.unknownType(0x44), at: 4))))
  }

  @Test func corruptBytesWithinAnUpdateAreReported() throws {
    for o in [
      #"{"$v":2,"diff":{"sq":{"u":{"zz":1}}}}"#, #"{"$v":1,"$set":{"zz":1}}"#,
      #"{"$v":2,"diff":{"d":{"zz":1}}}"#, #"{"$v":2,"diff":{"sq":{"a":true,"zz":1}}}"#,
    ] {
      let error = try corrupt(#"{\#(head),"op":"u","ns":"a.b","o":\#(o),"o2":{"_id":1}}"#) {
        $0[try offset(of: Array("zz\u{0}".utf8), in: $0) - 1] = 0x44
      }
      guard case .corrupt = error?.reason else {
        Issue.record("\(o): \(String(describing: error))")
        continue
      }
      #expect(error?.position == Self.position)
    }
  }

  // MARK: Messages

  @Test func theSentenceSaysWhatWhereAndWhatToDo() {
    #expect(
      OplogError(.unknownOperation("zz"), at: Self.position).description
        == "cannot decode the oplog entry at 7.3: its operation type \"zz\" is unknown. "
        + "Nothing was skipped; a newer release may support this server's format.")
    #expect(
      OplogError(.missingField("ts")).description
        == "cannot decode an oplog entry without a position: the field \"ts\" is missing. "
        + "Read from another member, and run validate on this one's local.oplog.rs.")
    #expect(
      OplogError(.wrongType(field: "ns", found: .int32), at: Self.position).description.contains(
        "the field \"ns\" has the type int32"))
    #expect(
      OplogError(
        .missingEarlierEntries(previous: OplogPosition(seconds: 6, increment: 2)), at: Self.position
      ).description
        == "cannot decode the oplog entry at 7.3: it commits a transaction whose earlier entries, "
        + "the last of them at 6.2, were not read. Nothing was skipped; read again from the "
        + "transaction's first entry (follow prevOpTime).")
    #expect(
      OplogError(
        .spillFailed(directory: "/x", detail: "creating it: No such file or directory (2)"),
        at: Self.position
      ).description
        == "cannot decode the oplog entry at 7.3: it belongs to a transaction too large for memory, "
        + "and its temporary file in /x failed (creating it: No such file or directory (2)). Nothing "
        + "was skipped, and it is retried; free some space there, or set TMPDIR to a directory with "
        + "enough space and restart.")
  }

  @Test func everySentenceIsWhole() {
    let forms: [OplogError.TransactionForm] = [
      .contradictory, .unnamed, .unknownForm(9), .tooDeep,
    ]
    let reasons: [OplogError.Reason] =
      [
        .corrupt(BSONError(.truncated, at: 5)), .missingField("o"),
        .wrongType(field: "o", found: .null), .badNamespace("x"), .unsupportedVersion(3),
        .unknownOperation("x"), .unknownCommand("x"), .unsupportedUpdate(version: 3),
        .unknownDiffSection("b"), .updateTooLarge,
        .missingEarlierEntries(previous: Self.position), .spillFailed(directory: "/x", detail: "y"),
      ] + forms.map { .unsupportedTransaction($0) }
    let sentences = reasons.map { OplogError($0, at: Self.position).description }
    #expect(Set(sentences).count == reasons.count)
    for sentence in sentences {
      #expect(sentence.hasPrefix("cannot decode the oplog entry at 7.3: "))
      #expect(sentence.hasSuffix(".") && !sentence.contains(".."))
    }
  }
}
