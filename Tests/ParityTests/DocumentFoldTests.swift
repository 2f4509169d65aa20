import JSON
import Parity
import Testing

@Suite("Document fold")
struct DocumentFoldTests {
  @Test(
    "an updateDescription is applied",
    arguments: [
      (#"{"a":1}"#, #"{"updatedFields":{"a":2}}"#, #"{"a":2}"#),
      (#"{"a":1}"#, #"{"updatedFields":{"b":2},"removedFields":["a"]}"#, #"{"b":2}"#),
      (
        #"{"a":{"b":1,"c":2}}"#, #"{"updatedFields":{"a.b":3},"removedFields":["a.c"]}"#,
        #"{"a":{"b":3}}"#
      ),
      (#"{"a":[1,2,3]}"#, #"{"updatedFields":{"a.1":9}}"#, #"{"a":[1,9,3]}"#),
      (#"{"a":[1,2,3]}"#, #"{"updatedFields":{"a.4":9}}"#, #"{"a":[1,2,3,null,9]}"#),
      (#"{"a":[1,2,3]}"#, #"{"truncatedArrays":[{"field":"a","newSize":1}]}"#, #"{"a":[1]}"#),
      (
        #"{"a":[1,2,3]}"#,
        #"{"updatedFields":{"a.0":7},"truncatedArrays":[{"field":"a","newSize":{"$numberInt":"2"}}]}"#,
        #"{"a":[7,2]}"#
      ),
      (#"{"a":[{"b":1}]}"#, #"{"updatedFields":{"a.0.b":2}}"#, #"{"a":[{"b":2}]}"#),
      (#"{"a.b":1}"#, #"{"updatedFields":{"a.b":2}}"#, #"{"a.b":2}"#),
      (#"{"a.b":{"c":1}}"#, #"{"updatedFields":{"a.b.c":2}}"#, #"{"a.b":{"c":2}}"#),
      (#"{"0":1}"#, #"{"updatedFields":{"0":2}}"#, #"{"0":2}"#),
      (#"{}"#, #"{"updatedFields":{"a.b":2}}"#, #"{"a":{"b":2}}"#),
      (#"{"a":1}"#, #"{"removedFields":["b","c.d"]}"#, #"{"a":1}"#),
    ])
  func applied(_ document: String, _ update: String, _ wanted: String) throws {
    let result = DocumentFold.apply(
      try JSONValue(parsing: update), to: try JSONValue(parsing: document))
    #expect(result.text() == wanted)
  }

  @Test(
    "ambiguous paths",
    arguments: [
      // Existing fields come first; then new ones, with the documents along the path.
      (#"{"a.b":1,"a":{"b":1}}"#, #"{"updatedFields":{"a.b":2}}"#, 2, 2),
      (#"{"a":{"b":1}}"#, #"{"updatedFields":{"a.b":2}}"#, 1, 2),
      (#"{"a":{"c":1}}"#, #"{"updatedFields":{"a.b":2}}"#, 1, 2),
      (#"{"a":{}}"#, #"{"updatedFields":{"a.b.c":2}}"#, 1, 3),
      (#"{"a.b":{},"a":{"b":{}}}"#, #"{"updatedFields":{"a.b.c":2}}"#, 1, 4),
      (#"{"a.b":1,"a":{"b":1}}"#, #"{"removedFields":["a.b"]}"#, 2, 2),
      (#"{"a":{"b":1}}"#, #"{"removedFields":["a.b"]}"#, 1, 1),
      (#"{"a":1}"#, #"{"updatedFields":{"a":2}}"#, 1, 1),
      // The same, with disambiguatedPaths.
      (
        #"{"a.b":1,"a":{"b":1}}"#,
        #"{"updatedFields":{"a.b":2},"disambiguatedPaths":{"a.b":["a.b"]}}"#, 1, 1
      ),
      (
        #"{"a.b":1,"a":{"b":1}}"#, #"{"updatedFields":{"a.b":2},"disambiguatedPaths":{}}"#, 1, 1
      ),
      // Both fields at once: their values are ambiguous even with disambiguatedPaths.
      (
        #"{"a.b":1,"a":{"b":1}}"#,
        #"{"updatedFields":{"a.b":2,"a.b":3},"disambiguatedPaths":{"a.b":["a.b"]}}"#, 4, 4
      ),
    ])
  func readings(_ document: String, _ update: String, _ likely: Int, _ all: Int) throws {
    let before = try JSONValue(parsing: document)
    let change = try JSONValue(parsing: update)
    for (isThorough, count) in [(false, likely), (true, all)] {
      let outcomes = DocumentFold.outcomes(
        of: change, on: before, isThorough: isThorough, atMost: 100)
      #expect(outcomes.count == count, "\(outcomes.map { $0.text() })")
      #expect(outcomes.first == DocumentFold.apply(change, to: before))
      let hiding = DocumentFold.outcomes(
        of: change, on: before, isThorough: isThorough, hidesFields: true, atMost: 100)
      #expect(hiding.first == outcomes.first)
    }
    #expect(
      DocumentFold.outcomes(of: change, on: before, isThorough: true, atMost: 1).count == 1)
  }

  @Test(
    "disambiguated paths",
    arguments: [
      (
        #"{"a.b":1,"a":{"b":1}}"#,
        #"{"updatedFields":{"a.b":2},"disambiguatedPaths":{"a.b":["a.b"]}}"#,
        #"{"a.b":2,"a":{"b":1}}"#
      ),
      (
        #"{"a.b":1,"a":{"b":1}}"#, #"{"updatedFields":{"a.b":2},"disambiguatedPaths":{}}"#,
        #"{"a.b":1,"a":{"b":2}}"#
      ),
      (
        #"{"n":[{"x.0":1}]}"#,
        #"{"removedFields":["n.0.x.0"],"disambiguatedPaths":{"n.0.x.0":["n",{"$numberInt":"0"},"x.0"]}}"#,
        #"{"n":[{}]}"#
      ),
      (
        #"{"n":{"0":1}}"#, #"{"updatedFields":{"n.1":2},"disambiguatedPaths":{"n.1":["n","1"]}}"#,
        #"{"n":{"0":1,"1":2}}"#
      ),
      (
        #"{"x":"***"}"#, #"{"updatedFields":{"x.y":"***"},"removedFields":["x.z"]}"#,
        #"{"x":"***"}"#
      ),
      // A combining mark after a dot makes another Character, but not another name.
      (#"{"a":{"\u0301":1}}"#, #"{"updatedFields":{"a.\u0301":2}}"#, "{\"a\":{\"\u{301}\":2}}"),
    ])
  func told(_ document: String, _ update: String, _ wanted: String) throws {
    let result = DocumentFold.apply(
      try JSONValue(parsing: update), to: try JSONValue(parsing: document))
    #expect(result.text() == wanted)
  }

  @Test("duplicate names are compared in order") func twice() throws {
    let wanted = try JSONValue(parsing: #"{"a":1,"b":1,"a":2}"#)
    for (json, pointer) in [
      (#"{"a":1,"b":1,"a":3}"#, "/a"), (#"{"a":1,"b":1}"#, "/a"),
      (#"{"a":1,"b":1,"a":2,"a":4}"#, "/a"), (#"{"a":1,"a":2}"#, "/b"),
    ] {
      let found = DocumentFold.sorted(try JSONValue(parsing: json))
      #expect(
        JSONDifference.first(expected: DocumentFold.sorted(wanted), found: found)?.pointer
          == pointer)
    }
    let other = DocumentFold.sorted(try JSONValue(parsing: #"{"b":1,"a":1,"a":2}"#))
    #expect(JSONDifference.first(expected: DocumentFold.sorted(wanted), found: other) == nil)
  }

  @Test("composed and decomposed keys are different") func unicode() throws {
    let document = JSONValue.object([.init("\u{E9}", 1), .init("e\u{301}", 2)])
    let update: JSONValue = ["updatedFields": ["e\u{301}": 3], "removedFields": ["\u{E9}"]]
    #expect(DocumentFold.apply(update, to: document) == .object([.init("e\u{301}", 3)]))
    let other = JSONValue.object([.init("e\u{301}", 2), .init("\u{E9}", 1)])
    #expect(document != other && DocumentFold.sorted(document) == DocumentFold.sorted(other))
    #expect(
      JSONDifference.first(expected: ["a": "\u{E9}"], found: ["a": "e\u{301}"])?.pointer == "/a")
  }

  @Test("the order of members is ignored") func order() throws {
    let a = try JSONValue(parsing: #"{"a":1,"b":[{"c":1,"d":2}]}"#)
    let b = try JSONValue(parsing: #"{"b":[{"d":2,"c":1}],"a":1}"#)
    #expect(a != b && DocumentFold.sorted(a) == DocumentFold.sorted(b))
  }
}
