import BSON
import Oplog
import Testing

/// Update entries compared with the server's change stream (4.4.2, 5.0.4, 6.0.27).
@Suite struct UpdateDescriptionTests {
  /// Byte for byte, including order, types and duplicates. Without `disambiguatedPaths`, since no captured
  /// stream is of a server that reports them (6.1 and later, with `showExpandedEvents`).
  @Test func equalsTheServers() throws {
    var compared = 0
    try fixture("updates") { pair in
      let o = try #require(try pair.first("o")?.document)
      let expected = try #require(try pair.first("event")?.document)
      let name = "\(try pair.text("server") ?? "") \(try pair.text("name") ?? "")"
      let event = try update(canonicalJSON(Array(o.bytes)))
      #expect(event.operation == (try expected.text("operationType")), "\(name)")
      let wanted = try expected.first("updateDescription")?.document.map {
        canonicalJSON(Array($0.bytes))
      }
      #expect(event.updateDescription.map(canonicalJSON) == wanted, "\(name)")
      let wantedBytes = try expected.first("updateDescription")?.document.map { Array($0.bytes) }
      #expect(event.updateDescription == wantedBytes, "\(name)")
      let replacement = event.operation == "replace" ? Array(o.bytes) : nil
      #expect(event.fullDocument == replacement, "\(name)")
      compared += 1
    }
    #expect(compared == 136)
  }

  private func update(_ o: String) throws -> Event {
    let all = try events(#"{\#(head),"op":"u","ns":"a.b","o":\#(o),"o2":{"_id":1}}"#)
    #expect(all.count == 1)
    return try #require(all.first)
  }

  private func describe(_ o: String) throws -> String {
    canonicalJSON(try #require(try update(o).updateDescription))
  }

  private func error(_ o: String) -> OplogError.Reason? {
    do {
      _ = try update(o)
      return nil
    } catch let error as OplogError {
      #expect(error.position == OplogPosition(seconds: 7, increment: 3))
      return error.reason
    } catch {
      Issue.record(error)
      return nil
    }
  }

  @Test func aDottedFieldBesideANestedOneGivesADuplicateKey() throws {
    let text = try describe(#"{"$v":2,"diff":{"u":{"a.b":"dotted"},"sa":{"u":{"b":"nested"}}}}"#)
    #expect(
      text == #"{ "updatedFields" : { "a.b" : "dotted", "a.b" : "nested" }, "#
        + #""removedFields" : [  ], "truncatedArrays" : [  ] }"#)
  }

  @Test func sectionsAndFieldsKeepTheirOrderOverAllLevels() throws {
    let text = try describe(
      #"""
      {"$v":2,"diff":{"d":{"z":false,"y":false},"u":{"c":"1","b":"2"},"i":{"a":"3"},
        "sn":{"d":{"q":false},"u":{"p":"4"},"sarr":{"a":true,"l":2,"u0":"5","s1":{"i":{"k":"6"}}}},
        "sm":{"i":{"e":"7"}}}}
      """#)
    #expect(
      text
        == #"{ "updatedFields" : { "c" : "1", "b" : "2", "a" : "3", "n.p" : "4", "n.arr.0" : "5", "#
        + #""n.arr.1.k" : "6", "m.e" : "7" }, "removedFields" : [ "z", "y", "n.q" ], "#
        + #""truncatedArrays" : [ { "field" : "n.arr", "newSize" : { "$numberInt" : "2" } } ] }"#)
  }

  @Test func exactlyOneSIsStripped() throws {
    let text = try describe(
      #"{"$v":2,"diff":{"ssx":{"u":{"s":"1"}},"ss":{"u":{"s":"2"}},"s":{"u":{"s":"3"}}}}"#)
    #expect(
      text == #"{ "updatedFields" : { "sx.s" : "1", "s.s" : "2", ".s" : "3" }, "#
        + #""removedFields" : [  ], "truncatedArrays" : [  ] }"#)
  }

  @Test func fieldsNamedLikeSectionsAreFields() throws {
    let text = try describe(
      #"{"$v":2,"diff":{"d":{"d":false},"u":{"a":true,"l":"1"},"sb":{"u":{"a":true,"u0":"2"}}}}"#)
    #expect(
      text == #"{ "updatedFields" : { "a" : true, "l" : "1", "b.a" : true, "b.u0" : "2" }, "#
        + #""removedFields" : [ "d" ], "truncatedArrays" : [  ] }"#)
  }

  @Test func nestedArraysAndTruncationToNothing() throws {
    let text = try describe(
      #"{"$v":2,"diff":{"sm":{"a":true,"s10":{"a":true,"l":0},"u11":[]}}}"#)
    #expect(
      text == #"{ "updatedFields" : { "m.11" : [  ] }, "removedFields" : [  ], "#
        + #""truncatedArrays" : [ { "field" : "m.10", "newSize" : { "$numberInt" : "0" } } ] }"#)
  }

  @Test func operatorsOfVersion1KeepTheirPaths() throws {
    let text = try describe(#"{"$v":1,"$unset":{"a.b":true,"c":true},"$set":{"x.0.y":"1"}}"#)
    #expect(
      text == #"{ "updatedFields" : { "x.0.y" : "1" }, "removedFields" : [ "a.b", "c" ] }"#)
    let unversioned = try describe(#"{"$set":{"x":"1"}}"#)
    #expect(unversioned == #"{ "updatedFields" : { "x" : "1" }, "removedFields" : [  ] }"#)
  }

  @Test func aReplacementMayHoldFieldsThatLookLikeAnUpdate() throws {
    for o in [
      #"{"_id":1,"$v":2,"diff":{"u":{"a":1}}}"#, #"{"$v":1,"_id":1}"#, #"{"diff":{"u":{}}}"#, "{}",
      #"{"$v":"x","_id":1}"#,
    ] {
      let event = try update(o)
      #expect(event.operation == "replace")
      #expect(event.fullDocument == (try Document(o).bytes))
      #expect(event.updateDescription == nil)
    }
  }

  @Test func whatIsUnknownHalts() {
    #expect(error(#"{"$v":3,"diff":{}}"#) == .unsupportedUpdate(version: 3))
    #expect(error(#"{"$v":0,"$set":{}}"#) == .unsupportedUpdate(version: 0))
    #expect(error(#"{"$v":"2","diff":{}}"#) == .wrongType(field: "o.$v", found: .string))
    #expect(error(#"{"$v":2}"#) == .missingField("o.diff"))
    #expect(error(#"{"$v":2,"diff":[]}"#) == .wrongType(field: "o.diff", found: .array))
    #expect(error(#"{"$v":2,"diff":{},"more":1}"#) == .unknownDiffSection("more"))
    #expect(error(#"{"$v":1,"$rename":{}}"#) == .unknownDiffSection("$rename"))
    #expect(error(#"{"$inc":{"a":1}}"#) == .unknownDiffSection("$inc"))
    #expect(error(#"{"$v":1,"$set":1}"#) == .wrongType(field: "o.$set", found: .int32))
    #expect(error(#"{"$v":1,"$unset":true}"#) == .wrongType(field: "o.$unset", found: .bool))
  }

  @Test(arguments: [
    (#"{"b":{"f":1}}"#, "b"),  // a binary diff
    (#"{"x":{}}"#, "x"), (#"{"ux":{}}"#, "ux"), (#"{"":{}}"#, ""),
    // After changes inside, or twice.
    (#"{"sf":{},"i":{}}"#, "i"), (#"{"u":{},"u":{}}"#, "u"),
    // Arrays: not at the root, not false, followed only by sections of an array.
    (#"{"a":true}"#, "a"), (#"{"sf":{"a":false}}"#, "a"), (#"{"sf":{"u":{},"a":true}}"#, "a"),
    (#"{"sf":{"a":true,"x1":1}}"#, "x1"), (#"{"sf":{"a":true,"u":1}}"#, "u"),
    (#"{"sf":{"a":true,"u1x":1}}"#, "u1x"), (#"{"sf":{"a":true,"u0":1,"l":1}}"#, "l"),
    (#"{"sf":{"a":true,"l":1,"l":1}}"#, "l"), (#"{"sf":{"a":true,"s":{}}}"#, "s"),
  ])
  func unknownSectionsHalt(_ diff: String, _ key: String) {
    #expect(error(#"{"$v":2,"diff":\#(diff)}"#) == .unknownDiffSection(key))
  }

  @Test func sectionsOfTheWrongTypeHalt() {
    #expect(error(#"{"$v":2,"diff":{"u":1}}"#) == .wrongType(field: "o.diff", found: .int32))
    #expect(error(#"{"$v":2,"diff":{"sf":[]}}"#) == .wrongType(field: "o.diff.s", found: .array))
    #expect(
      error(#"{"$v":2,"diff":{"sf":{"a":1}}}"#) == .wrongType(field: "o.diff.a", found: .int32))
    #expect(
      error(#"{"$v":2,"diff":{"sf":{"a":true,"l":"1"}}}"#)
        == .wrongType(field: "o.diff.l", found: .string))
    #expect(
      error(#"{"$v":2,"diff":{"sf":{"a":true,"s1":1}}}"#)
        == .wrongType(field: "o.diff.s", found: .int32))
  }

  /// Deeper than libbson parses, so written by hand.
  @Test func nestingIsBounded() throws {
    func nested(_ depth: Int) -> [UInt8] {
      var writer = ByteWriter()
      var marks = [writer.beginDocument()]
      writer.append(key: "ts", timestamp: 7, increment: 3)
      writer.append(key: "op", string: "u")
      writer.append(key: "ns", string: "a.b")
      marks.append(writer.beginDocument(key: "o2"))
      writer.endDocument(marks.removeLast())
      marks.append(writer.beginDocument(key: "o"))
      writer.append(key: "$v", int32: 2)
      marks.append(writer.beginDocument(key: "diff"))
      for _ in 0..<depth { marks.append(writer.beginDocument(key: "sa")) }
      while let mark = marks.popLast() { writer.endDocument(mark) }
      return Array(writer.bytes)
    }
    func decode(_ bytes: [UInt8]) throws -> [Event] {
      try bytes.withUnsafeBytes {
        var decoder = OplogDecoder()
        return try decoder.events(of: try BSONView($0))
      }
    }
    #expect(try decode(nested(200)).map(\.isOversized) == [false])
    #expect(try decode(nested(300)).map(\.isOversized) == [true])
  }

  /// A long path times many fields: 1 MB of entry that would become 25 GB of description.
  @Test func theSizeIsBounded() throws {
    let name = String(repeating: "x", count: 500_000)
    let fields = (0..<50_000).map { #""\#($0)":1"# }.joined(separator: ",")
    let update =
      #"\#(head),"op":"u","ns":"a.b","o":{"$v":2,"diff":{"s\#(name)":{"u":{\#(fields)}}}}"#
    var decoder = OplogDecoder()
    let event = try #require(try decoder.events(#"{\#(update),"o2":{"_id":1}}"#).first)
    #expect(event.isOversized && event.operation == "update" && event.updateDescription == nil)
    #expect(event.documentKey != nil && event.namespace == "a.b")
    // The decoder continues.
    let next = try decoder.events(
      #"{\#(head),"op":"u","ns":"a.b","o":{"$v":2,"diff":{"u":{"f":1}}},"o2":{"_id":1}}"#)
    #expect(next.map(\.isOversized) == [false] && next.first?.updateDescription != nil)
  }

  /// At the limit, and one byte beyond.
  @Test(arguments: [0, 1]) func theBoundIsExact(more: Int) throws {
    // {updatedFields: {f: "…"}, removedFields: [], truncatedArrays: []}; counted without the last two.
    let name = #"{"$v":2,"diff":{"u":{"f":""}}}"#
    var decoder = OplogDecoder()
    func events(_ value: String) throws -> [Event] {
      try decoder.events(
        #"{\#(head),"op":"u","ns":"a.b","o":\#(name.replacing(#""f":"""#, with: #""f":"\#(value)""#)),"o2":{}}"#
      )
    }
    let empty = 4 + 1 + "updatedFields".utf8.count + 1 + 4 + 1 + 2 + 4 + 1
    let room = OplogDecoder.maximumUpdate - empty
    let found = try events(String(repeating: "y", count: room + more))
    #expect(found.map(\.isOversized) == [more == 1])
  }

  /// An unwanted description isn't completed beyond its own limit.
  @Test func unwantedDescriptionsStaySmall() throws {
    var decoder = OplogDecoder()
    decoder.isUpdateWanted = { name in String(decoding: name, as: UTF8.self) == "a.wanted" }
    let long = String(repeating: "y", count: 2_000_000)
    func isOversized(_ collection: String, _ value: String) throws -> [Bool] {
      try decoder.events(
        #"{\#(head),"op":"u","ns":"a.\#(collection)","o":{"$v":2,"diff":{"u":{"f":"\#(value)"}}},"o2":{}}"#
      ).map(\.isOversized)
    }
    #expect(try isOversized("wanted", long) == [false])
    #expect(try isOversized("unwanted", long) == [true])
    #expect(try isOversized("unwanted", "small") == [false])
  }

  @Test func aLargeDescriptionDoesNotSpoilTheNext() throws {
    var decoder = OplogDecoder()
    let long = String(repeating: "y", count: 3_000_000)
    for (value, _) in [(long, 0), ("a", 1), (long, 2), ("b", 3)] {
      let all = try decoder.events(
        #"{\#(head),"op":"u","ns":"a.b","o":{"$v":2,"diff":{"u":{"f":"\#(value)"}}},"o2":{}}"#)
      let event = try #require(all.first)
      let expected = try Document(
        #"{"updatedFields":{"f":"\#(value)"},"removedFields":[],"truncatedArrays":[]}"#)
      #expect(event.updateDescription == expected.bytes)
    }
  }
}
