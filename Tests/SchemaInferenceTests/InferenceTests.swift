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
