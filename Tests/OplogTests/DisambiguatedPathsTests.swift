import BSON
import Foundation
import Oplog
import Testing

/// `disambiguatedPaths` as in change streams of 6.1 and later: distinguishes dots in field names from
/// separators, and numeric field names from array indexes.
@Suite struct DisambiguatedPathsTests {
  private func describe(_ diff: String) throws -> String {
    var decoder = OplogDecoder()
    decoder.disambiguatesPaths = true
    let all = try decoder.events(
      #"{\#(head),"op":"u","ns":"a.b","o":{"$v":2,"diff":\#(diff)},"o2":{"_id":1}}"#)
    return canonicalJSON(try #require(all.first?.updateDescription))
  }

  private func paths(_ diff: String) throws -> String {
    let text = try describe(diff)
    let name = try #require(text.range(of: #""disambiguatedPaths" : "#))
    return String(text[name.upperBound...].dropLast(2))
  }

  @Test func itIsTheLastFieldAndThereOnRequestOnly() throws {
    #expect(
      try describe(#"{"u":{"a":"1"}}"#)
        == #"{ "updatedFields" : { "a" : "1" }, "removedFields" : [  ], "truncatedArrays" : [  ], "#
        + #""disambiguatedPaths" : {  } }"#)
    var decoder = OplogDecoder()
    #expect(decoder.disambiguatesPaths == false)
    let entry = #"{\#(head),"op":"u","ns":"a.b","o":{"$v":2,"diff":{"u":{"a.b":1}}},"o2":{}}"#
    let without = try #require(try decoder.events(entry).first?.updateDescription)
    #expect(!canonicalJSON(without).contains("disambiguatedPaths"))
    decoder.disambiguatesPaths = true
    let with = try #require(try decoder.events(entry).first?.updateDescription)
    #expect(canonicalJSON(with).contains(#""disambiguatedPaths" : { "a.b" : [ "a.b" ] }"#))
  }

  /// An array index alone isn't ambiguous.
  @Test(arguments: [
    #"{"d":{"7":false},"u":{"a":1,"0":2},"i":{"12":3}}"#, #"{"sarr":{"a":true,"u0":1}}"#,
    #"{"sarr":{"a":true,"l":1,"s2":{"a":true,"s1":{"d":{"y":false},"u":{"x":1}}}}}"#,
    #"{"sn":{"u":{"01":1,"1x":2,"-1":3,"":4}}}"#,
  ])
  func clearPathsAreNotListed(_ diff: String) throws {
    #expect(try paths(diff) == "{  }")
  }

  @Test(arguments: [
    // A dot in a name, at the top and below, in changed, new, removed and truncated fields.
    (#"{"u":{"a.b":1}}"#, #"{ "a.b" : [ "a.b" ] }"#),
    (#"{"i":{".":1}}"#, #"{ "." : [ "." ] }"#),
    (#"{"d":{"x.y":false}}"#, #"{ "x.y" : [ "x.y" ] }"#),
    (#"{"sn":{"d":{"x.y":false}}}"#, #"{ "n.x.y" : [ "n", "x.y" ] }"#),
    (#"{"sn.m":{"u":{"x":1}}}"#, #"{ "n.m.x" : [ "n.m", "x" ] }"#),
    (#"{"sn.m":{"a":true,"l":2}}"#, #"{ "n.m" : [ "n.m" ] }"#),
    // A numeric field name; the rest of the path is ambiguous too.
    (#"{"sn":{"u":{"0":1}}}"#, #"{ "n.0" : [ "n", "0" ] }"#),
    (#"{"sn":{"s10":{"u":{"x":1}}}}"#, #"{ "n.10.x" : [ "n", "10", "x" ] }"#),
    (#"{"s0":{"u":{"1":1}}}"#, #"{ "0.1" : [ "0", "1" ] }"#),
    // Indexes are numbers in the list.
    (
      #"{"sn":{"a":true,"s0":{"u":{"1":1}}}}"#,
      #"{ "n.0.1" : [ "n", { "$numberInt" : "0" }, "1" ] }"#
    ),
    (
      #"{"sn.":{"a":true,"u12":1}}"#, #"{ "n..12" : [ "n.", { "$numberInt" : "12" } ] }"#
    ),
    // An empty name.
    (#"{"s":{"u":{"0":1}}}"#, #"{ ".0" : [ "", "0" ] }"#),
  ])
  func ambiguousPathsAre(_ diff: String, _ wanted: String) throws {
    #expect(try paths(diff) == wanted)
  }

  /// On each level: changed, added and removed fields, then deeper levels.
  @Test func pathsComeInTheOrderOfTheDescriptionAndMayRepeat() throws {
    let text = try paths(
      #"""
      {"d":{"r.r":false},"u":{"a.b":1,"plain":1},"i":{"c.d":1},
       "sa":{"u":{"b":1,"1":2}},"sl.l":{"a":true,"l":3,"u0":1,"s1":{"i":{"z":1}}},
       "sm":{"u":{"x":1}},"sa.b":{"u":{"1":3}},"sa":{"i":{"b.1":4}}}
      """#)
    #expect(
      text == #"{ "a.b" : [ "a.b" ], "c.d" : [ "c.d" ], "r.r" : [ "r.r" ], "a.1" : [ "a", "1" ], "#
        + #""l.l" : [ "l.l" ], "l.l.0" : [ "l.l", { "$numberInt" : "0" } ], "#
        + #""l.l.1.z" : [ "l.l", { "$numberInt" : "1" }, "z" ], "#
        + #""a.b.1" : [ "a.b", "1" ], "a.b.1" : [ "a", "b.1" ] }"#)
  }

  /// The examples of the server's own test of this feature.
  @Test func theServersExamples() throws {
    #expect(
      try paths(
        #"""
        {"stopLevelArray":{"a":true,"s0":{"ssubArray":{"a":true,"s1":{"a":true,"s1":{"a":true,
         "s0":{"sbottomArray":{"a":true,"u2":3}}}}}}}}
        """#) == "{  }")
    #expect(
      try paths(
        #"""
        {"sobj":{"ssub.obj":{"sd.o.t.t.e.d..":{"a":true,"s0":{"a":true,"l":1,
         "s0":{"sa":{"u":{"b.c":2}}}}}}}}
        """#)
        == #"{ "obj.sub.obj.d.o.t.t.e.d...0" : [ "obj", "sub.obj", "d.o.t.t.e.d..", "#
        + #"{ "$numberInt" : "0" } ], "obj.sub.obj.d.o.t.t.e.d...0.0.a.b.c" : [ "obj", "sub.obj", "#
        + #""d.o.t.t.e.d..", { "$numberInt" : "0" }, { "$numberInt" : "0" }, "a", "b.c" ] }"#)
  }

  @Test func version1HasNone() throws {
    var decoder = OplogDecoder()
    decoder.disambiguatesPaths = true
    let all = try decoder.events(
      #"{\#(head),"op":"u","ns":"a.b","o":{"$v":1,"$set":{"a.0":1},"$unset":{"b.1":true}},"o2":{}}"#
    )
    #expect(
      all.first?.updateDescription
        == (try Document(#"{"updatedFields":{"a.0":1},"removedFields":["b.1"]}"#).bytes))
  }

  /// The option changes nothing else: all captured updates, with the field removed again.
  @Test func theRestIsTheSame() throws {
    var plain = OplogDecoder()
    var rich = OplogDecoder()
    rich.disambiguatesPaths = true
    var compared = 0
    try fixture("updates") { pair in
      let o = canonicalJSON(Array(try #require(try pair.first("o")?.document).bytes))
      let entry = #"{\#(head),"op":"u","ns":"a.b","o":\#(o),"o2":{"_id":1}}"#
      let first = try plain.events(entry).first?.updateDescription.map(canonicalJSON)
      let second = try rich.events(entry).first?.updateDescription.map(canonicalJSON)
      let name = #", "disambiguatedPaths""#
      let cut = second.map { text in
        text.range(of: name).map { String(text[..<$0.lowerBound]) + " }" } ?? text
      }
      #expect(first == cut)
      compared += 1
    }
    #expect(compared == 136)
  }

  @Test func theSizeIsBoundedWithItToo() throws {
    let name = String(repeating: "x", count: 100_000) + ".y"
    let fields = (0..<1000).map { #""\#($0)":1"# }.joined(separator: ",")
    var decoder = OplogDecoder()
    decoder.disambiguatesPaths = true
    let diff = #"{"s\#(name)":{"u":{\#(fields)}}}"#
    let all = try decoder.events(
      #"{\#(head),"op":"u","ns":"a.b","o":{"$v":2,"diff":\#(diff)},"o2":{"_id":1}}"#)
    #expect(all.map(\.isOversized) == [true])
    // No state is left over.
    #expect(try paths(#"{"u":{"a.b":1}}"#) == #"{ "a.b" : [ "a.b" ] }"#)
  }
}
