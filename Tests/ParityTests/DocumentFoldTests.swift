import JSON
import Parity
import Testing

@Suite("Documents folded from updates")
struct DocumentFoldTests {
  @Test(
    "an updateDescription applied",
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

  @Test("the order of members doesn't count") func order() throws {
    let a = try JSONValue(parsing: #"{"a":1,"b":[{"c":1,"d":2}]}"#)
    let b = try JSONValue(parsing: #"{"b":[{"d":2,"c":1}],"a":1}"#)
    #expect(a != b && DocumentFold.sorted(a) == DocumentFold.sorted(b))
  }
}
