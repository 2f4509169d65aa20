import Foundation
import JSON
import JSONSchema
import Testing

/// The official test suite. What no BSON type can hold is in `exceptions`, with its reason.
@Suite(.enabled(if: !Suite.isMissing, "JSON_SCHEMA_TEST_SUITE is not set or has no suite"))
struct SuiteTests {
  /// Numbers that no BSON type holds which JSON has as a number: integers beyond 64 bits, and more
  /// digits than a double keeps. As doubles they are other numbers, and judged as these.
  private static let exceptions: Set<String> = [
    "bignum: maximum integer comparison: comparison works for high numbers",
    "bignum: minimum integer comparison: comparison works for very negative numbers",
    "bignum: float comparison with high precision: comparison works for high numbers",
    "bignum: float comparison with high precision on negative numbers: "
      + "comparison works for very negative numbers",
  ]

  /// Runs cases; the names of those that came out wrong.
  private static func failures(_ cases: [Suite.Case], _ options: SchemaOptions) -> [String] {
    var failures: [String] = []
    var last: (schema: JSONValue, validator: SchemaValidator)?
    for test in cases {
      do throws(SchemaError) {
        if last?.schema != test.schema {
          let schema = try CompiledSchema(test.schema, options: options, set: Suite.remotes)
          last = (test.schema, SchemaValidator(schema))
        }
      } catch {
        failures.append("\(test.name): \(error)")
        last = nil
        continue
      }
      guard let validator = last?.validator, let value = Wrapped(test.instance) else {
        failures.append("\(test.name): can't be held in BSON")
        continue
      }
      let verdict = try? value.use { validator.validate(value: $0) }
      if verdict != test.isValid {
        failures.append("\(test.name): \(verdict.map { "\($0)" } ?? "corrupt")")
      }
      // The explainer comes to the same by other means.
      let report = try? value.use { validator.explain(value: $0) }
      if report?.isValid != test.isValid {
        failures.append("\(test.name): explained \(report?.violations.first?.error ?? "valid")")
      }
      if validator.schema.explain(test.instance).isValid != test.isValid {
        failures.append("\(test.name): explained as JSON")
      }
    }
    return failures
  }

  @Test(arguments: Suite.drafts)
  func required(draft: Suite.Draft) throws {
    let cases = try Suite.cases("tests/\(draft.folder)")
    #expect(cases.count == draft.required)
    let options = SchemaOptions(assertFormats: false, defaultDraft: draft.draft)
    let failures = Self.failures(cases, options)
    #expect(failures == [])
    print("json schema: \(draft), required \(cases.count - failures.count)/\(cases.count)")
  }

  @Test(arguments: Suite.drafts)
  func optional(draft: Suite.Draft) throws {
    let cases = try Suite.cases("tests/\(draft.folder)/optional")
    #expect(cases.count == draft.optional)
    let options = SchemaOptions(
      assertFormats: false, assertContent: true, defaultDraft: draft.draft)
    let held = cases.filter { !Self.exceptions.contains($0.name) }
    #expect(cases.count - held.count == Self.exceptions.count)
    let failures = Self.failures(held, options)
    #expect(failures == [])
    print("json schema: \(draft), optional \(held.count - failures.count)/\(cases.count)")
  }

  @Test(arguments: Suite.drafts)
  func formats(draft: Suite.Draft) throws {
    let cases = try Suite.cases("tests/\(draft.folder)/optional/format")
    #expect(cases.count == draft.formats)
    let failures = Self.failures(cases, SchemaOptions(defaultDraft: draft.draft))
    #expect(failures == [])
    print("json schema: \(draft), formats \(cases.count - failures.count)/\(cases.count)")
  }

  /// The output format "basic", by the schemas that the suite has for it.
  @Test(arguments: Suite.drafts.prefix(2))
  func output(draft: Suite.Draft) throws {
    var set = Suite.remotes
    let folder = try #require(Suite.folder).appending(path: "output-tests/\(draft.folder)")
    let version = draft.folder.dropFirst(5)
    set.add(
      try JSONValue(parsing: Data(contentsOf: folder.appending(path: "output-schema.json"))),
      uri: "https://json-schema.org/draft/\(version)/output/schema")
    let cases = try Suite.cases("output-tests/\(draft.folder)/content")
    #expect(cases.count == 4)
    for test in cases {
      let schema = try CompiledSchema(
        test.schema, options: SchemaOptions(defaultDraft: draft.draft), set: set)
      let output = try #require(Wrapped(test.instance)).use {
        SchemaValidator(schema).explain(value: $0).basicOutput
      }
      let expected = try CompiledSchema(
        try #require(test.output?["basic"]), options: SchemaOptions(defaultDraft: draft.draft),
        set: set)
      let problems = expected.explain(output).violations
      #expect(problems == [], "\(test.name): \(output.text())")
      let isValid = try #require(Wrapped(output)).use {
        SchemaValidator(expected).validate(value: $0)
      }
      #expect(isValid)
    }
  }
}
