import BSON
import Oplog
import Testing

/// Descriptions of commands that the captured scenarios don't cover. (ScenarioTests compare them with the
/// server's.)
@Suite struct OperationDescriptionTests {
  private func command(_ o: String, _ o2: String? = nil) throws -> [Event] {
    let o2 = o2.map { #","o2":\#($0)"# } ?? ""
    return try events(#"{\#(head),"op":"c","ns":"a.$cmd","o":\#(o)\#(o2)}"#)
  }

  private func described(_ o: String, _ o2: String? = nil) throws -> String? {
    try command(o, o2).last?.operationDescription.map(canonicalJSON)
  }

  @Test func theCommandItselfIsLeftOut() throws {
    #expect(
      try described(#"{"create":"b","capped":true,"size":"x"}"#)
        == #"{ "capped" : true, "size" : "x" }"#)
    #expect(try described(#"{"create":"b"}"#) == "{ }")
    #expect(
      try described(#"{"createIndexes":"b","v":"2","key":{"a":"1"},"name":"a_1"}"#)
        == #"{ "indexes" : [ { "v" : "2", "key" : { "a" : "1" }, "name" : "a_1" } ] }"#)
  }

  @Test func aDroppedIndexIsTold() throws {
    let index = #"{"v":"2","key":{"a":"1"},"name":"a_1"}"#
    let wanted = #"{ "indexes" : [ { "v" : "2", "key" : { "a" : "1" }, "name" : "a_1" } ] }"#
    for name in ["dropIndexes", "deleteIndexes", "dropIndex", "deleteIndex"] {
      #expect(try described(#"{"\#(name)":"b","index":"a_1"}"#, index) == wanted)
    }
    // Without it there is no description.
    #expect(try described(#"{"dropIndexes":"b","index":"*"}"#) == nil)
    #expect(try described(#"{"commitIndexBuild":"b"}"#) == nil)
  }

  @Test func aModificationShowsWhatWasBefore() throws {
    let old = #"{"collectionOptions_old":{"uuid":"x"},"indexOptions_old":{"hidden":false}}"#
    let all = try command(#"{"collMod":"b","index":{"name":"a_1","hidden":true}}"#, old)
    #expect(
      all.first?.operationDescription.map(canonicalJSON)
        == #"{ "index" : { "name" : "a_1", "hidden" : true } }"#)
    #expect(
      all.first?.stateBeforeChange.map(canonicalJSON)
        == #"{ "collectionOptions" : { "uuid" : "x" }, "indexOptions" : { "hidden" : false } }"#)
    let bare = try command(#"{"collMod":"b"}"#)
    #expect(bare.first?.operationDescription.map(canonicalJSON) == "{ }")
    #expect(bare.first?.stateBeforeChange == nil)
    let empty = try command(#"{"collMod":"b"}"#, "{}")
    #expect(empty.first?.stateBeforeChange.map(canonicalJSON) == "{ }")
  }

  @Test func aRenameTellsItsTargetTwice() throws {
    let uuid = #"{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"04"}}"#
    let all = try command(
      #"{"renameCollection":"a.b","to":"c.d.e","stayTemp":true,"dropTarget":\#(uuid)}"#)
    #expect(all.map(\.operation) == ["drop", "rename"])
    #expect(all.first?.operationDescription == nil)
    #expect(
      all.last?.operationDescription.map(canonicalJSON)
        == #"{ "to" : { "db" : "c", "coll" : "d.e" }, "dropTarget" : { "$binary" : "#
        + #"{ "base64" : "AAECAwQFBgcICQoLDA0ODw==", "subType" : "04" } } }"#)
  }

  @Test func dropsHaveNoneAndViewsTheirDefinition() throws {
    #expect(try described(#"{"drop":"b"}"#, #"{"numRecords":3}"#) == nil)
    #expect(try described(#"{"dropDatabase":1}"#) == nil)
    func view(_ op: String, _ o: String) throws -> String? {
      try events(
        #"{\#(head),"op":"\#(op)","ns":"a.system.views","o":\#(o),"o2":{"_id":"a.v"}}"#
      ).first?.operationDescription.map(canonicalJSON)
    }
    let definition = #"{"_id":"a.v","viewOn":"b","pipeline":[]}"#
    #expect(try view("i", definition) == #"{ "viewOn" : "b", "pipeline" : [  ] }"#)
    #expect(try view("u", definition) == #"{ "viewOn" : "b", "pipeline" : [  ] }"#)
    #expect(try view("d", #"{"_id":"a.v"}"#) == nil)
    // Servers write complete view definitions.
    #expect(try view("u", #"{"$v":2,"diff":{"u":{"viewOn":"c"}}}"#) == nil)
  }

  /// The two documents share a buffer that may grow; a large buffer is released.
  @Test func largeDescriptions() throws {
    var decoder = OplogDecoder()
    for size in [3_000_000, 10, 700, 5_000_000, 1] {
      let text = String(repeating: "v", count: size)
      let all = try decoder.events(
        #"""
        {\#(head),"op":"c","ns":"a.$cmd","o":{"collMod":"b","validator":{"x":"\#(text)"}},
         "o2":{"collectionOptions_old":{"validator":{"y":"\#(text)"}}}}
        """#)
      #expect(
        all.first?.operationDescription == (try Document(#"{"validator":{"x":"\#(text)"}}"#).bytes))
      #expect(
        all.first?.stateBeforeChange
          == (try Document(#"{"collectionOptions":{"validator":{"y":"\#(text)"}}}"#).bytes))
    }
  }

  @Test func otherEventsHaveNone() throws {
    let plain = try events(#"{\#(head),"op":"i","ns":"a.b","o":{"_id":1}}"#)
    #expect(plain.first?.operationDescription == nil && plain.first?.stateBeforeChange == nil)
  }
}

/// Operations on time-series buckets, by collection.
@Suite struct TimeSeriesTests {
  private func write(_ ns: String) -> String {
    #"{\#(head),"op":"i","ns":"\#(ns)","o":{"_id":1}}"#
  }

  @Test func operationsAreCountedByCollection() throws {
    var decoder = OplogDecoder()
    #expect(decoder.unsupportedTimeSeriesByCollection.isEmpty)
    for ns in ["a.system.buckets.m", "b.system.buckets.m", "a.system.buckets.m", "a.b"] {
      _ = try decoder.events(write(ns))
    }
    let operation = #"{"op":"d","ns":"a.system.buckets.x.y","o":{"_id":1}}"#
    _ = try decoder.events(
      #"{\#(head),"op":"c","ns":"admin.$cmd","o":{"applyOps":[\#(operation),\#(operation)]}}"#)
    #expect(decoder.unsupportedTimeSeries == 5)
    let counts = decoder.unsupportedTimeSeriesByCollection
    #expect(counts.map(\.collection) == ["a.m", "b.m", "a.x.y"])
    #expect(counts.map(\.operations) == [2, 1, 2])
  }

  @Test func namesAreBounded() throws {
    var decoder = OplogDecoder()
    for round in 1...2 {
      for n in 0..<100 { _ = try decoder.events(write("a.system.buckets.n\(n)")) }
      let counts = decoder.unsupportedTimeSeriesByCollection
      #expect(counts.count == 65)
      #expect(counts.first?.collection == "a.n0")
      #expect(counts.first?.operations == UInt64(round))
      #expect(counts.last?.collection == "others")
      #expect(counts.last?.operations == UInt64(36 * round))
      #expect(decoder.unsupportedTimeSeries == UInt64(100 * round))
    }
  }
}
