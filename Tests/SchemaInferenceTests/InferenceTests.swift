import JSON
import JSONSchema
import SchemaInference
import TestRandom
import Testing

@Suite("Inference") struct InferenceTests {
  func inferred(_ documents: [JSONValue]) throws -> SchemaInference {
    let inference = SchemaInference()
    for document in documents { try inference.observe(document.text()) }
    return inference
  }

  static let both = [InferenceOptions(), InferenceOptions(isStrict: true, withEvidence: true)]

  // MARK: The goals

  @Test func `a lenient schema takes further documents, a strict one refuses damaged ones`() throws
  {
    var population = Population(seed: 11)
    let inference = try inferred((0..<10_000).map { _ in population.document() })
    let lenient = try CompiledSchema(inference.schema())
    let strict = try CompiledSchema(inference.schema(InferenceOptions(isStrict: true)))
    let unseen = (0..<10_000).map { _ in population.document() }
    let refused = unseen.count { !lenient.explain($0).isValid }
    #expect(refused < 10, "\(refused) of 10,000")
    let damaged = (0..<2_000).map { _ in population.corrupted() }
    let found = damaged.count { !strict.explain($0).isValid }
    #expect(found > 1_900, "\(found) of 2,000")
    print(
      "inference: lenient refuses \(refused) of 10000 unseen, strict finds \(found) of 2000 damaged"
    )
  }

  @Test(arguments: both) func `what was seen is accepted`(_ options: InferenceOptions) throws {
    var population = Population(seed: 12)
    let documents = (0..<600).map { _ in population.document() }
    let schema = try CompiledSchema(try inferred(documents).schema(options))
    for document in documents {
      let report = schema.explain(document)
      #expect(report.isValid, "\(document): \(report.violations)")
      if !report.isValid { break }
    }
  }

  @Test(arguments: both) func `whatever was seen is accepted`(_ options: InferenceOptions) throws {
    for seed in 0..<120 {
      var values = AnyValues(seed: UInt64(seed))
      let documents = (0..<(1 + values.random.below(120))).map { _ in values.document() }
      let inferred = try inferred(documents).schema(options)
      let schema = try CompiledSchema(inferred)
      for document in documents {
        let report = schema.explain(document)
        guard !report.isValid else { continue }
        Issue.record("seed \(seed): \(document.text()): \(report.violations) by \(inferred.text())")
        return
      }
    }
  }

  // MARK: Merging

  @Test func `parts that are merged are as good as the whole`() throws {
    var population = Population(seed: 13)
    let documents = (0..<1_200).map { _ in population.document() }
    let whole = try inferred(documents)
    for sizes in [[600], [20, 300, 700], [1_200], [1_190]] {
      let merged = SchemaInference()
      var from = 0
      for size in sizes + [documents.count] {
        let to = min(from + size, documents.count)
        merged.merge(try inferred(Array(documents[from..<to])))
        from = to
      }
      #expect(merged.count == whole.count)
      for options in Self.both {
        let schema = merged.schema(options)
        let compiled = try CompiledSchema(schema)
        #expect(documents.allSatisfy { compiled.explain($0).isValid })
        #expect(sorted(schema) == sorted(whole.schema(options)), "\(sizes)")
      }
    }
  }

  /// With members and lists of names in order: parts meet names in another order.
  private func sorted(_ value: JSONValue) -> JSONValue {
    switch value {
    case .object(let members):
      .object(members.map { .init($0.key, sorted($0.value)) }.sorted { $0.key < $1.key })
    case .array(let items): .array(items.map(sorted).sorted { $0.text() < $1.text() })
    default: value
    }
  }

  @Test func `other parts are merged without loss`() throws {
    for seed in 0..<80 {
      var values = AnyValues(seed: UInt64(1_000 + seed))
      let documents = (0..<(2 + values.random.below(150))).map { _ in values.document() }
      let cut = values.random.below(documents.count)
      let merged = try inferred(Array(documents[..<cut]))
      merged.merge(try inferred(Array(documents[cut...])))
      #expect(merged.count == documents.count)
      let schema = merged.schema(InferenceOptions(isStrict: true))
      let compiled = try CompiledSchema(schema)
      for document in documents where !compiled.explain(document).isValid {
        Issue.record("seed \(seed): \(document.text()) by \(schema.text())")
        return
      }
    }
  }

  // MARK: What others read

  /// Of a member that is there twice, some readers take the first and others the last.
  @Test(arguments: [
    (#"{"type":"a","x":1,"type":"b"}"#, #"{"type":"b","x":1}"#, #"{"type":"a","x":1}"#),
    (#"{"type":7,"y":"s","type":"b"}"#, #"{"type":"b","y":"s"}"#, #"{"type":7,"y":"s"}"#),
    (#"{"type":"b","y":"s","type":null}"#, #"{"type":null,"y":"s"}"#, #"{"type":"b","y":"s"}"#),
    (
      #"{"p":{"type":"a","type":"b","x":1}}"#, #"{"p":{"type":"b","x":1}}"#,
      #"{"p":{"type":"a","x":1}}"#
    ),
  ]) func `a member that tells kinds apart, twice`(_ text: String, _ last: String, _ first: String)
    throws
  {
    let isInner = text.hasPrefix(#"{"p""#)
    func usual(_ text: String) -> String { isInner ? #"{"p":\#(text)}"# : text }
    let kinds = [usual(#"{"type":"a","x":1}"#), usual(#"{"type":"b","y":"s"}"#)]
    for order in [[kinds, [text]], [[text], kinds]] {
      for options in Self.both {
        let inference = SchemaInference()
        for part in order {
          for _ in 0..<(part.count == 1 ? 1 : 250) {
            for text in part { try inference.observe(text) }
          }
        }
        let schema = try CompiledSchema(inference.schema(options))
        for reading in [last, first] + kinds {
          let report = schema.explain(try JSONValue(parsing: reading))
          #expect(report.isValid, "\(reading): \(report.violations)")
        }
      }
    }
  }

  /// Not every validator draws a format's line in the same place.
  @Test(arguments: [
    (
      "email",
      [
        "x@r3--sn.example.org", "x@xn--a.com", "\"a b\"@example.org", "a@[127.0.0.1]", "a..b@c.de",
        "a@localhost",
      ]
    ),
    (
      "date-time",
      [
        "2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "2026-11-23t13:00:00z",
        "2026-11-23T13:00:00-00:00",
      ]
    ),
    ("uri", ["http://[::1]/", "http://us:er@example.org/", "a://b@c", "http://xn--a.com/", "x:"]),
    ("date", ["0000-01-01"]),
  ]) func `only what all validators take for a format is one`(_ format: String, _ odd: [String])
    throws
  {
    let usual = [
      "email": "ada.lovelace+x@mail.example.org", "uri": "https://example.org:8080/a?b=c#d",
      "date-time": "2026-11-23T13:00:00.123+01:00", "date": "2026-11-23",
    ][format, default: ""]
    for options in Self.both {
      func document(_ text: String) -> String {
        let document: JSONValue = ["v": .string(text)]
        return document.text()
      }
      let texts = Array(repeating: document(usual), count: 30)
      #expect(try schema(texts, options)["properties"]?["v"]?["format"]?.stringValue == format)
      for text in odd {
        #expect(
          try schema(texts + [document(text)], options)["properties"]?["v"]?["format"] == nil,
          "\(text)")
      }
    }
  }

  @Test(arguments: [
    ["1.5e308"], ["-1.6e308", "3"], ["1.7976931348623157e308", "-1.7976931348623157e308"],
    ["1e999"],
  ])
  func `bounds are numbers that others can read`(_ numbers: [String]) throws {
    let texts = numbers.map { "{\"v\":\($0)}" }
    let schema = try schema(texts, times: 20)
    for name in ["minimum", "maximum"] {
      guard let bound = schema["properties"]?["v"]?[name] else { continue }
      #expect(bound.doubleValue?.isFinite == true, "\(bound)")
    }
    let compiled = try CompiledSchema(schema)
    for text in texts { #expect(compiled.explain(try JSONValue(parsing: text)).isValid) }
  }

  @Test func `names that are written in two ways are two names`() throws {
    let (one, other) = ("caf\u{E9}", "cafe\u{301}")
    let texts = (0..<60).map { number in
      number % 2 == 0
        ? "{\"\(one)\":\"a\",\"\(other)\":\"n\(number)\",\"x\":1}"
        : "{\"\(one)\":\"b\",\"\(other)\":\"m\(number)\",\"y\":1}"
    }
    for options in Self.both {
      let compiled = try CompiledSchema(try schema(texts, options))
      for text in texts { #expect(compiled.explain(try JSONValue(parsing: text)).isValid) }
    }
  }

  // MARK: What is recognized

  func schema(
    _ texts: [String], times: Int = 1, _ options: InferenceOptions = .init(isStrict: true)
  ) throws -> JSONValue {
    let inference = SchemaInference()
    for _ in 0..<times { for text in texts { try inference.observe(text) } }
    return inference.schema(options)
  }

  @Test func `types with null, and integers`() throws {
    let schema = try schema(
      [#"{"a":1,"b":null,"c":1.5}"#, #"{"a":2,"b":"x","c":2}"#, #"{"a":3}"#], times: 20)
    #expect(schema["properties"]?["a"]?["type"] == "integer")
    #expect(schema["properties"]?["b"]?["type"] == ["string", "null"])
    #expect(schema["properties"]?["c"]?["type"] == "number")
    #expect(schema["required"] == ["a"])
    #expect(schema["properties"]?["a"]?["maximum"] == 5)
  }

  @Test(arguments: [
    ("2026-11-23T13:00:00.123Z", "date-time"), ("2026-11-23", "date"),
    ("73ffd264-44b3-4c69-90e8-e7d1dfc035d4", "uuid"), ("a@example.org", "email"),
    ("https://example.org/a", "uri"), ("127.0.0.1", "ipv4"),
  ]) func `formats`(_ text: String, _ format: String) throws {
    let schema = try schema([#"{"a":"\#(text)"}"#], times: 30)
    #expect(schema["properties"]?["a"]?["format"] == .string(format))
  }

  @Test func `ObjectIds`() throws {
    let schema = try schema([#"{"a":"56e1fc72e0c917e9c4714161"}"#], times: 30)
    #expect(schema["properties"]?["a"]?["pattern"] == "^[0-9a-f]{24}$")
  }

  @Test func `enumerations, only where there are few values, often`() throws {
    let few = try schema((0..<100).map { #"{"a":"\#(["x", "y", "z"][$0 % 3])"}"# })
    #expect(few["properties"]?["a"]?["enum"] == ["x", "y", "z"])
    let many = try schema((0..<100).map { #"{"a":"v\#($0 % 40)"}"# })
    #expect(many["properties"]?["a"]?["enum"] == nil)
    let lenient = try schema((0..<100).map { #"{"a":"\#(["x", "y"][$0 % 2])"}"# }, .init())
    #expect(lenient["properties"]?["a"]?["enum"] == nil)
  }

  @Test func `maps`() throws {
    let byID = try schema(
      (0..<50).map { #"{"m":{"\#(String($0 + 0x10_0000, radix: 16))e0c917e9c4714161ab":{"n":1}}}"# }
    )
    let map = byID["properties"]?["m"]
    #expect(map?["properties"] == nil)
    #expect(map?["additionalProperties"]?["properties"]?["n"]?["type"] == "integer")
    #expect(map?["propertyNames"]?["pattern"] == "^[0-9a-f]{24}$")
    let mixed = try schema((0..<100).map { #"{"m":{"total":1,"name \#($0)":2}}"# })
    #expect(mixed["properties"]?["m"]?["properties"]?.objectValue?.map(\.key) == ["total"])
    #expect(mixed["properties"]?["m"]?["additionalProperties"]?["type"] == "integer")
    let record = try schema((0..<100).map { #"{"a\#($0 % 5)":1,"b":"x"}"# }, .init())
    #expect(record["additionalProperties"] == nil)
    #expect(record["properties"]?.objectValue?.count == 6)
  }

  @Test func `kinds of documents`() throws {
    let texts = [
      #"{"type":"text","id":1,"text":"a"}"#, #"{"type":"file","id":2,"url":"b","size":3}"#,
    ]
    let strict = try schema(texts, times: 100)
    #expect(strict["oneOf"]?.arrayValue?.count == 2)
    #expect(strict["oneOf"]?.arrayValue?[1]["required"] == ["type", "id", "url", "size"])
    let compiled = try CompiledSchema(strict)
    #expect(!compiled.explain(["type": "text", "id": 1, "url": "b", "size": 3]).isValid)
    // Of kinds that were not seen, a lenient one asks nothing.
    let lenient = try CompiledSchema(try schema(texts, times: 100, .init()))
    #expect(lenient.explain(["type": "call", "seconds": 7]).isValid)
    #expect(!lenient.explain(["type": "text", "id": 1]).isValid)
  }

  @Test func `kinds that turn out to be too many are given up`() throws {
    var documents: [JSONValue] = []
    for number in 0..<600 {
      documents.append(number % 2 == 0 ? ["k": "a", "x": 1] : ["k": "b", "y": "z"])
    }
    for number in 0..<40 { documents.append(["k": .string("new \(number)"), "w": 1]) }
    let schema = try inferred(documents).schema(InferenceOptions(isStrict: true))
    #expect(schema["oneOf"] == nil)
    let compiled = try CompiledSchema(schema)
    #expect(documents.allSatisfy { compiled.explain($0).isValid })
  }

  @Test func `evidence`() throws {
    let schema = try schema(
      [#"{"a":1}"#, #"{"a":2,"b":"x"}"#], .init(isStrict: true, withEvidence: true, title: "T"))
    #expect(schema["title"] == "T")
    #expect(schema["$comment"] == "2 documents: object 2")
    #expect(
      schema["properties"]?["b"]?["$comment"] == "1 of 2: string 1, length 1 to 1, 1 different")
  }

  @Test(arguments: ["{", "{\"a\":}", "nul", "{\"a\":1}}", "\"\u{1}\"", "[1,]"])
  func `what isn't JSON is an error`(_ text: String) {
    #expect(throws: JSONError.self) { try SchemaInference().observe(text) }
  }

  @Test func `too many names, and places, are put together`() throws {
    let inference = SchemaInference()
    var documents: [JSONValue] = []
    for number in 0..<1_200 {
      documents.append([
        "m": .object((0..<5).map { .init("k\(number * 5 + $0)", .int($0)) }), "id": .int(number),
      ])
    }
    for document in documents { try inference.observe(document.text()) }
    let schema = inference.schema(InferenceOptions(isStrict: true))
    #expect(schema.text().utf8.count < 1_000, "\(schema.text().prefix(2_000))")
    let compiled = try CompiledSchema(schema)
    #expect(documents.allSatisfy { compiled.explain($0).isValid })
  }
}
