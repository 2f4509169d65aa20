import BSON
import Foundation
import JSON
import JSONSchema
import SchemaDiff
import TestRandom
import Testing

/// A line of `Fixtures/pairs.txt`.
struct Pair: Sendable, CustomTestStringConvertible {
  var line: Int
  var backward: String
  var forward: String
  var old: String
  var new: String
  var testDescription: String { "line \(line): \(old) => \(new)" }

  static let all: [Pair] = {
    guard
      let file = Bundle.module.url(
        forResource: "pairs", withExtension: "txt", subdirectory: "Fixtures"),
      let text = try? String(contentsOf: file, encoding: .utf8)
    else { return [] }
    return text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().compactMap {
      index, line in
      guard !line.isEmpty, !line.hasPrefix("#") else { return nil }
      let words = line.split(separator: " ", maxSplits: 2)
      let sides = words[2].components(separatedBy: " => ")
      return Pair(
        line: index + 1, backward: String(words[0]), forward: String(words[1]),
        old: sides[0].trimmingCharacters(in: .whitespaces),
        new: sides[1].trimmingCharacters(in: .whitespaces))
    }
  }()

  func comparison() throws -> SchemaComparison {
    SchemaComparison(
      old: try CompiledSchema(text: old), new: try CompiledSchema(text: new))
  }
}

extension SchemaComparison.Direction {
  /// As the fixture has it.
  var word: String {
    switch verdict {
    case .compatible: caveats.isEmpty ? "yes" : "yes*"
    case .incompatible: "no"
    case .undecided: "?"
    }
  }

  /// As BSON; nil for numbers that no BSON type has exactly.
  private func isValid(_ value: JSONValue, _ schema: CompiledSchema) throws -> Bool? {
    guard value.text().firstMatch(of: /[0-9]{16}|[0-9][eE]/) == nil else { return nil }
    var bson = ByteWriter()
    try value.utf8.withUnsafeBytes { try bson.append(bsonOf: $0) }
    return try Array(bson.bytes).withUnsafeBytes { bytes in
      let element = try #require(try BSONView(bytes).first(""))
      return SchemaValidator(schema).validate(value: element)
    }
  }
}

@Suite("Hand-judged pairs") struct PairTests {
  @Test func `there are enough of them`() {
    #expect(Pair.all.count >= 150)
  }

  @Test(arguments: Pair.all) func `the verdict is right, with a witness`(_ pair: Pair) throws {
    let comparison = try pair.comparison()
    #expect(comparison.backward.word == pair.backward, "backward: \(comparison.backward)")
    #expect(comparison.forward.word == pair.forward, "forward: \(comparison.forward)")
    let old = try CompiledSchema(text: pair.old)
    let new = try CompiledSchema(text: pair.new)
    for (direction, writer, reader) in [
      (comparison.backward, old, new), (comparison.forward, new, old),
    ] {
      for difference in direction.differences + direction.caveats {
        #expect(writer.explain(difference.witness).isValid, "\(difference)")
        #expect(!reader.explain(difference.witness).isValid, "\(difference)")
        // The bridge's validator, which sees BSON, says the same.
        #expect(try isValid(difference.witness, writer) != false, "\(difference)")
        #expect(try isValid(difference.witness, reader) != true, "\(difference)")
      }
    }
  }

  /// As BSON; nil for numbers that no BSON type has exactly.
  private func isValid(_ value: JSONValue, _ schema: CompiledSchema) throws -> Bool? {
    guard value.text().firstMatch(of: /\d{16}|e/.dotMatchesNewlines()) == nil else { return nil }
    var bson = ByteWriter()
    let document = JSONValue.object([.init("v", value)])
    try document.utf8.withUnsafeBytes { try bson.append(bsonOf: $0) }
    return try Array(bson.bytes).withUnsafeBytes { bytes in
      let wrapped = try #require(try BSONView(bytes).first(""))
      let element = try #require(try BSONView(wrapped.value).first("v"))
      return SchemaValidator(schema).validate(value: element)
    }
  }
}
