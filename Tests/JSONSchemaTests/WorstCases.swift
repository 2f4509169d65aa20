import BSON
import JSON
import JSONSchema

/// A schema with a document that is made to take long: as large as a server accepts, or small and
/// made for a schema that branches.
struct WorstCase: CustomStringConvertible, Sendable {
  var name: String
  var schema: String
  var style = JSONStyle.simplified
  /// Makes the document, of about so many bytes.
  var document: @Sendable (Int) -> [UInt8]

  var description: String { name }
}

/// `{"v": …}`, by appending to a writer.
enum Large {
  static func document(_ body: (inout ByteWriter) -> Void) -> [UInt8] {
    var writer = ByteWriter(capacity: 1 << 20)
    let mark = writer.beginDocument()
    body(&writer)
    writer.endDocument(mark)
    return Array(writer.bytes)
  }

  static func key(_ name: String, _ body: (UnsafeRawBufferPointer) -> Void) {
    var name = name
    name.withUTF8 { body(UnsafeRawBufferPointer($0)) }
  }

  /// An array of about `size` bytes whose items `item` appends.
  static func array(
    _ size: Int, most: Int = .max, _ item: (Int, inout ByteWriter) -> Void
  ) -> [UInt8] {
    document { writer in
      let mark = writer.beginArray(key: "v")
      var index = 0
      while writer.count < size, index < most {
        item(index, &writer)
        index += 1
      }
      writer.endDocument(mark)
    }
  }

  static func integers(_ size: Int, most: Int = .max) -> [UInt8] {
    array(size, most: most) { $1.append(index: $0, int32: Int32($0)) }
  }

  static func texts(_ size: Int, _ text: @escaping (Int) -> String) -> [UInt8] {
    array(size) { index, writer in writer.append(index: index, text: text(index)) }
  }

  static func text(_ size: Int, _ unit: String, after start: String = "") -> [UInt8] {
    document { writer in
      let count = max(1, size / unit.utf8.count)
      writer.append(key: "v", text: start + String(repeating: unit, count: count))
    }
  }

  /// An object `v` of about `size` bytes whose members `member` appends.
  static func object(_ size: Int, _ member: (Int, inout ByteWriter) -> Void) -> [UInt8] {
    document { writer in
      key("v") { key in
        let mark = writer.beginDocument(key: key)
        var index = 0
        while writer.count < size {
          member(index, &writer)
          index += 1
        }
        writer.endDocument(mark)
      }
    }
  }

  /// Objects within each other under `key`, with a number at the bottom.
  static func nested(_ depth: Int, _ name: String) -> [UInt8] {
    document { writer in
      var marks: [Int] = []
      key(name) { key in
        for _ in 0..<depth { marks.append(writer.beginDocument(key: key)) }
        writer.append(key: key, int32: 1)
      }
      for mark in marks.reversed() { writer.endDocument(mark) }
    }
  }
}

extension ByteWriter {
  mutating func beginArray(key name: String) -> Int {
    var name = name
    name.withUTF8 { appendHeader(.array, key: UnsafeRawBufferPointer($0)) }
    return beginDocument()
  }

  mutating func append(index: Int, int32: Int32) {
    appendHeader(.int32, index: index)
    append(littleEndian: int32)
  }

  mutating func append(index: Int, text: String) {
    appendHeader(.string, index: index)
    appendText(text)
  }

  mutating func append(key name: String, text: String) {
    var name = name
    name.withUTF8 { appendHeader(.string, key: UnsafeRawBufferPointer($0)) }
    appendText(text)
  }

  private mutating func appendText(_ text: String) {
    var text = text
    text.withUTF8 {
      append(littleEndian: Int32($0.count + 1))
      append(UnsafeRawBufferPointer($0))
    }
    append(0 as UInt8)
  }

  mutating func append(index: Int, type: BSONType, bytes: [UInt8]) {
    appendHeader(type, index: index)
    append(bytes)
  }

  mutating func append(index: Int, _ members: [(String, Int32)]) {
    appendHeader(.document, index: index)
    let mark = beginDocument()
    for (name, value) in members {
      var name = name
      name.withUTF8 { append(key: UnsafeRawBufferPointer($0), int32: value) }
    }
    endDocument(mark)
  }
}

extension WorstCase {
  private static func v(_ schema: String) -> String { #"{"properties": {"v": \#(schema)}}"# }
  private static func list(_ count: Int, _ item: (Int) -> String) -> String {
    "[" + (0..<count).map(item).joined(separator: ",") + "]"
  }
  private static func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  static let all: [WorstCase] = arrays + objects + texts + formats + branches + types

  static let arrays: [WorstCase] = [
    WorstCase(
      name: "integers that should be strings", schema: v(#"{"items": {"type": "string"}}"#),
      document: { Large.integers($0) }),
    WorstCase(
      name: "integers, the last of them wrong",
      schema: v(#"{"items": {"maximum": 300000}, "maxItems": 9000000}"#),
      document: { Large.integers($0) }),
    WorstCase(
      name: "integers with several demands",
      schema: v(
        #"{"items": {"type": "integer", "minimum": 0, "multipleOf": 1, "not": {"const": -1}}}"#),
      document: { Large.integers($0) }),
    WorstCase(
      name: "an enum of 500 objects",
      schema: v(#"{"items": {"enum": \#(list(500) { #"{"a": \#($0), "b": 1}"# })}}"#),
      document: { Large.array($0) { $1.append(index: $0, [("a", Int32($0 % 600)), ("b", 1)]) } }),
    WorstCase(
      name: "an enum of 500 numbers",
      schema: v(#"{"items": {"enum": \#(list(500) { "\($0).5" })}}"#),
      document: {
        Large.array($0) { index, writer in
          writer.append(
            index: index, type: .double, bytes: bytes((Double(index % 500) + 0.5).bitPattern))
        }
      }),
    WorstCase(
      name: "an enum of 500 texts that start and end alike",
      schema: v(
        #"{"items": {"enum": \#(list(500) { #""https://example.com/\#(1_000 + $0)/long/end/of/it""# })}}"#
      ),
      document: { Large.texts($0) { "https://example.com/\(1_000 + $0 % 500)/long/end/of/it" } }),
    WorstCase(
      name: "distinct integers", schema: v(#"{"uniqueItems": true}"#),
      document: { Large.integers($0) }),
    WorstCase(
      name: "distinct objects", schema: v(#"{"uniqueItems": true}"#),
      document: { Large.array($0) { $1.append(index: $0, [("a", 1), ("b", Int32($0))]) } }),
    WorstCase(
      name: "two large objects in other orders", schema: v(#"{"uniqueItems": true}"#),
      document: { size in
        Large.array(size, most: 2) { index, writer in
          let count = size / 40
          writer.append(
            index: index,
            (0..<count).map {
              let number = index == 0 ? $0 : count - 1 - $0
              return ("key\(number)", Int32(number))
            })
        }
      }),
    WorstCase(
      name: "contains, never met",
      schema: v(#"{"contains": {"anyOf": [{"const": "a"}, {"minimum": 9000000}]}}"#),
      document: { Large.integers($0) }),
    WorstCase(
      name: "a hundred schemas for each item",
      schema: v(#"{"items": {"allOf": \#(list(100) { #"{"maximum": \#(2_000_000 + $0)}"# })}}"#),
      document: { Large.integers($0) }),
    WorstCase(
      name: "unevaluated items behind branches",
      schema: v(
        #"{"anyOf": \#(list(50) { #"{"prefixItems": [true], "contains": {"const": \#($0)}}"# }), "unevaluatedItems": false}"#
      ),
      document: { Large.integers($0) }),
    WorstCase(
      name: "doubles to divide", schema: v(#"{"items": {"multipleOf": 1.7e-10}}"#),
      document: {
        Large.array($0) { index, writer in
          writer.append(
            index: index, type: .double, bytes: bytes((1e300 + Double(index) * 1e290).bitPattern))
        }
      }),
    WorstCase(
      name: "doubles to divide by many digits",
      schema: v(#"{"items": {"multipleOf": 0.12345678901234567890123456789012345677}}"#),
      document: {
        Large.array($0) { index, writer in
          writer.append(
            index: index, type: .double, bytes: bytes((1e300 + Double(index) * 1e290).bitPattern))
        }
      }),
  ]

  static let objects: [WorstCase] = [
    WorstCase(
      name: "members of two bytes", schema: v(#"{"properties": {"a": true}, "maxProperties": 9}"#),
      document: { Large.object($0) { _, writer in writer.append([0x0A, 0]) } }),
    WorstCase(
      name: "many patterns for many keys",
      schema: v(
        #"{"patternProperties": {\#((0..<50).map { #""^k.*x\#($0)$": {"type": "string"}"# }.joined(separator: ","))}}"#
      ),
      document: {
        Large.object($0) { index, writer in
          Large.key("k\(index)") { writer.append(key: $0, int32: 1) }
        }
      }),
    WorstCase(
      name: "patterns for long keys",
      schema: v(#"{"patternProperties": {"^(a|b)*c$": false, "x.*y.*z": false}}"#),
      document: { size in
        Large.object(size) { index, writer in
          Large.key(String(repeating: "ab", count: size / 8)) { writer.append(key: $0, int32: 1) }
        }
      }),
    WorstCase(
      name: "names", schema: v(#"{"propertyNames": {"pattern": "^[a-z0-9]+$", "maxLength": 9}}"#),
      document: {
        Large.object($0) { index, writer in
          Large.key("k\(index)") { writer.append(key: $0, int32: 1) }
        }
      }),
    WorstCase(
      name: "dependent schemas",
      schema: v(
        #"{"items": {"dependentSchemas": {\#((0..<50).map { #""k\#($0)": {"minProperties": 1, "properties": {"a": true}}"# }.joined(separator: ","))}}}"#
      ),
      document: {
        Large.array($0) { index, writer in
          writer.append(index: index, (0..<50).map { ("k\($0)", 1) })
        }
      }),
    WorstCase(
      name: "unevaluated properties behind branches",
      schema: v(
        #"{"anyOf": \#(list(50) { #"{"properties": {"k\#($0)": true}}"# }), "unevaluatedProperties": {"type": "integer"}}"#
      ),
      document: {
        Large.object($0) { index, writer in
          Large.key("k\(index)") { writer.append(key: $0, int32: 1) }
        }
      }),
    WorstCase(
      name: "a key of megabytes, and a hundred branches",
      schema: #"{"allOf": \#(list(100) { #"{"properties": {"a\#($0)": true}}"# })}"#,
      document: { size in
        Large.document { writer in
          Large.key(String(repeating: "k", count: size - 100)) {
            writer.append(key: $0, int32: 1)
          }
        }
      }),
    WorstCase(
      name: "a large constant",
      schema: v(
        #"{"items": {"const": {\#((0..<500).map { #""k\#($0)": \#($0)"# }.joined(separator: ","))}}}"#
      ),
      document: {
        Large.array($0) { index, writer in
          writer.append(index: index, (0..<500).map { ("k\($0)", Int32($0)) })
        }
      }),
    WorstCase(
      name: "much is required",
      schema: v(
        #"{"items": {"required": \#(list(1_000) { #""k\#($0)""# })}}"#),
      document: { Large.array($0) { $1.append(index: $0, [("a", 1)]) } }),
  ]

  static let texts: [WorstCase] =
    [
      ("a table", "^(a|b)*c$", "ab"),
      ("a class", "^[a-z]+$", "ab"),
      ("many states", "[ab]*a[ab]{40}c", "ab"),
      ("letters", #"^(\p{L}\p{M}*){3,90}\p{N}"#, "é"),
      ("looking ahead", "^(?=(a+)+$)b", "a"),
      ("looking ahead everywhere", "(?=a*b)c", "a"),
      ("a back reference", #"(a*)\1\1b"#, "a"),
      ("alternatives within each other", "^(?!x)((a|aa)+)+$", "a"),
    ].map { name, pattern, unit in
      WorstCase(
        name: "pattern: \(name)",
        schema: v(#"{"pattern": \#(JSONValue.string(pattern).text())}"#),
        document: { Large.text($0, unit, after: "") })
    }
    + [
      WorstCase(
        name: "lengths beyond ASCII",
        schema: v(#"{"allOf": \#(list(100) { #"{"minLength": \#($0)}"# })}"#),
        document: { Large.text($0, "é") }),
      WorstCase(
        name: "a short text and a pattern that tries",
        schema: v(#"{"items": {"pattern": "^(?=(a+)+$)b"}}"#),
        document: { Large.texts($0) { _ in String(repeating: "a", count: 30) } }),
      WorstCase(
        name: "binary data", schema: v(#"{"allOf": [{"pattern": "^[A-Z]*$"}, {"maxLength": 9}]}"#),
        document: { size in
          Large.document { writer in
            Large.key("v") { writer.appendHeader(.binary, key: $0) }
            writer.append(littleEndian: Int32(size))
            writer.append([0])
            writer.append([UInt8](repeating: 0x55, count: size))
          }
        }),
    ]

  static let formats: [WorstCase] =
    [
      ("date-time", "2026-11-23T13:00:00.", "1"), ("duration", "P", "1"),
      ("time", "13:00:00.", "1"),
      ("email", "", "a."), ("email", "\"", "a"), ("idn-email", "a@", "é."), ("idn-email", "", "é"),
      ("hostname", "", "a."), ("idn-hostname", "", "é."), ("idn-hostname", "", "é"),
      ("uri", "http://a", "%20"), ("uri-reference", "", "a:"), ("iri", "a://", "é"),
      ("iri", "a://", "@"), ("uri-template", "", "{a}"), ("uri-template", "{", "a,"),
      ("json-pointer", "/", "~0/"), ("relative-json-pointer", "", "1"), ("ipv6", "", "::"),
      ("regex", "[", "a"), ("regex", "[", #"\p{L}"#), ("regex", "", "(?:a"), ("regex", "", "a{9}"),
      ("regex", "", "(?=a)"), ("regex", "", "(a)"), ("regex", "", "a"), ("regex", "", #"\p{Lu}"#),
      ("regex", "", "|"), ("regex", "(?<", "a"),
    ].map { format, start, unit in
      WorstCase(
        name: "format: \(format), \(start)\(unit)…", schema: v(#"{"format": "\#(format)"}"#),
        document: { Large.text($0, unit, after: start) })
    }
    + [
      (
        "idn-hostname",
        String(repeating: "éあ", count: 12) + "." + String(repeating: "ж・あ", count: 9)
      ),
      ("idn-hostname", String(repeating: "\u{628}\u{200C}", count: 20)),
      ("hostname", "xn--ihqwcrb4cv8a8dqg056pqjye.xn--fiqs8s.xn--bcher-kva.example.com"),
      ("idn-email", "a@" + String(repeating: "é", count: 100)),
      ("regex", #"^(\p{Script=Greek}|[\p{Lu}\w]){1,9}(?<n>a)\k<n>$"#),
      ("uri", "https://example.com/a?b=%20#c"), ("ipv6", "1:2:3:4:5:6:7.8.9.10"),
    ].map { format, text in
      WorstCase(
        name: "many texts of format \(format), \(text.prefix(12))",
        schema: v(#"{"items": {"format": "\#(format)"}}"#),
        document: { Large.texts($0) { _ in text } })
    }

  /// Schemas that each refer to the next one twice.
  private static func doubling(_ start: String, _ last: String) -> String {
    let definitions = (0..<30).map {
      ##""d\##($0)": {"anyOf": [{"$ref": "#/$defs/d\##($0 + 1)"}, {"$ref": "#/$defs/d\##($0 + 1)"}]}"##
    }
    return #"{\#(start), "$defs": {\#(definitions.joined(separator: ",")), "d30": \#(last)}}"#
  }

  static let branches: [WorstCase] = [
    WorstCase(
      name: "text, quote or list",
      schema: #"""
        {"$ref": "#/$defs/n", "$defs": {"n": {"oneOf": [
          {"type": "string"},
          {"properties": {"v": {"$ref": "#/$defs/n"}}, "required": ["quote"]},
          {"properties": {"v": {"$ref": "#/$defs/n"}}, "required": ["list"]},
          {"properties": {"v": {"$ref": "#/$defs/n"}}, "required": ["v"], "type": "object"}]}}}
        """#,
      document: { _ in Large.nested(100, "v") }),
    WorstCase(
      name: "branches with unevaluated properties",
      schema: #"""
        {"$ref": "#/$defs/n", "$defs": {"n": {
          "anyOf": [{"properties": {"v": {"$ref": "#/$defs/n"}}, "required": ["a"]},
            {"properties": {"v": {"$ref": "#/$defs/n"}}, "required": ["b"]},
            {"properties": {"v": {"$ref": "#/$defs/n"}}}],
          "unevaluatedProperties": false}}}
        """#,
      document: { _ in Large.nested(100, "v") }),
    WorstCase(
      name: "branches with dynamic references",
      schema: #"""
        {"$id": "https://example.com/tree", "$dynamicAnchor": "n",
          "oneOf": [{"properties": {"v": {"$dynamicRef": "#n"}}, "required": ["a"]},
            {"properties": {"v": {"$dynamicRef": "#n"}}, "required": ["b"]},
            {"type": "integer"}, {"properties": {"v": {"$dynamicRef": "#n"}}}]}
        """#,
      document: { _ in Large.nested(100, "v") }),
    WorstCase(
      name: "conditions at every level",
      schema: #"""
        {"$ref": "#/$defs/n", "$defs": {"n": {
          "if": {"properties": {"v": {"$ref": "#/$defs/n"}}, "required": ["a"]},
          "then": {"properties": {"v": {"$ref": "#/$defs/n"}}},
          "else": {"properties": {"v": {"$ref": "#/$defs/n"}}, "type": "object"}}}}
        """#,
      document: { _ in Large.nested(100, "v") }),
    WorstCase(
      name: "negations at every level",
      schema: #"""
        {"$ref": "#/$defs/n", "$defs": {"n": {"allOf": [
          {"not": {"properties": {"v": {"$ref": "#/$defs/n"}}, "required": ["v"]}},
          {"not": {"properties": {"v": {"$ref": "#/$defs/n"}}, "required": ["w"]}}]}}}
        """#,
      document: { _ in Large.nested(101, "v") }),
    WorstCase(
      name: "references that double",
      schema: doubling(##""$ref": "#/$defs/d0""##, #"{"required": ["a"]}"#),
      document: { _ in Large.nested(1, "v") }),
    WorstCase(
      name: "references that double, for a text",
      schema: doubling(
        ##""properties": {"v": {"$ref": "#/$defs/d0"}}"##, #"{"minLength": 9}"#),
      document: { _ in Large.text(3, "é") }),
  ]

  static let types: [WorstCase] =
    [JSONStyle.simplified, .relaxed, .canonical].flatMap { style in
      [
        WorstCase(
          name: "timestamps in \(style)",
          schema: v(#"{"items": {"type": "object", "minProperties": 1}}"#), style: style,
          document: { Large.array($0) { $1.append(index: $0, type: .timestamp, bytes: bytes($0)) } }
        ),
        WorstCase(
          name: "dates in \(style)", schema: v(#"{"items": {"minLength": 3}}"#), style: style,
          document: { Large.array($0) { $1.append(index: $0, type: .date, bytes: bytes($0)) } }),
        WorstCase(
          name: "dates beyond RFC 3339 in \(style)", schema: v(#"{"items": {"minLength": 3}}"#),
          style: style,
          document: {
            Large.array($0) { $1.append(index: $0, type: .date, bytes: bytes(Int.max - $0)) }
          }),
        WorstCase(
          name: "decimals in \(style)", schema: v(#"{"uniqueItems": true}"#), style: style,
          document: {
            Large.array($0) {
              $1.append(
                index: $0, type: .decimal128, bytes: bytes($0) + bytes(0x3040 << 48 as UInt64))
            }
          }),
        WorstCase(
          name: "objectIds in \(style)",
          schema: v(#"{"items": {"type": ["string", "object"], "pattern": "^[0-9a-f]{24}$"}}"#),
          style: style,
          document: {
            Large.array($0) {
              $1.append(index: $0, type: .objectID, bytes: bytes($0) + [1, 2, 3, 4])
            }
          }),
        WorstCase(
          name: "regular expressions in \(style)",
          schema: v(#"{"allOf": \#(list(20) { #"{"minProperties": \#($0 % 2)}"# })}"#),
          style: style,
          document: { size in
            Large.document { writer in
              Large.key("v") { writer.appendHeader(.regex, key: $0) }
              writer.append([UInt8](repeating: 0x61, count: size) + [0, 0])
            }
          }),
      ]
    }
}
