import ArgumentParser
import BSON
import Foundation
import JSON
import JSONSchema

/// `tailrace schema bowtie`: the protocol of Bowtie's harnesses, JSON lines on standard input and
/// output, so that the validator can be compared with others.
struct SchemaBowtie: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bowtie", abstract: "Bowtie's harness protocol on standard input and output.",
    discussion: """
      Formats annotate, as the specification has it, unless --formats is given. Each value is judged \
      twice, on BSON as the bridge does and by the part that explains; if they disagreed, the case \
      would be an error.
      """)

  @Flag(help: "Hold formats against values.") var formats = false

  func run() throws {
    var harness = BowtieHarness(formats: formats)
    while let line = readLine() {
      guard let answer = harness.answer(line) else { return }
      // At once: whoever asks waits for it.
      print(answer)
    }
  }
}

/// One run of the protocol. Everything but `stop` is answered with a line.
struct BowtieHarness {
  let formats: Bool
  private var dialect = SchemaDraft.draft2020

  private static let dialects: [(uri: String, draft: SchemaDraft)] = [
    ("https://json-schema.org/draft/2020-12/schema", .draft2020),
    ("https://json-schema.org/draft/2019-09/schema", .draft2019),
    ("http://json-schema.org/draft-07/schema#", .draft7),
  ]

  init(formats: Bool) { self.formats = formats }

  /// Nil: the end.
  mutating func answer(_ line: String) -> String? {
    let command: JSONValue
    do {
      command = try JSONValue(parsing: line.utf8, maximumDepth: 256)
    } catch {
      return Self.errored(nil, "\(error)").text()
    }
    switch command["cmd"]?.stringValue {
    case "start": return start(command).text()
    case "dialect": return dialect(command).text()
    case "run": return run(command).text()
    case "stop": return nil
    default: return Self.errored(command["seq"], "unknown command").text()
    }
  }

  private func start(_ command: JSONValue) -> JSONValue {
    guard command["version"]?.integer(Int.self) == 1 else {
      return Self.errored(nil, "only version 1 of the protocol is known")
    }
    return [
      "version": 1,
      "implementation": [
        "language": "swift", "name": "tailrace", "version": .string(TailraceVersion.current),
        "homepage": "https://tailrace.example", "issues": "https://tailrace.example/issues",
        "source": "https://tailrace.example/source",
        "dialects": .array(Self.dialects.map { .string($0.uri) }),
      ],
    ]
  }

  private mutating func dialect(_ command: JSONValue) -> JSONValue {
    let wanted = command["dialect"]?.stringValue
    guard let known = Self.dialects.first(where: { $0.uri == wanted }) else { return ["ok": false] }
    dialect = known.draft
    return ["ok": true]
  }

  private func run(_ command: JSONValue) -> JSONValue {
    let seq = command["seq"]
    guard let test = command["case"], let schema = test["schema"] else {
      return Self.errored(seq, "no case, or no schema in it")
    }
    var set = SchemaSet()
    for member in test["registry"]?.objectValue ?? [] { set.add(member.value, uri: member.key) }
    let compiled: CompiledSchema
    do {
      compiled = try CompiledSchema(
        schema, options: SchemaOptions(assertFormats: formats, defaultDraft: dialect), set: set)
    } catch {
      return Self.errored(seq, "\(error)")
    }
    let validator = SchemaValidator(compiled)
    var results: [JSONValue] = []
    for one in test["tests"]?.arrayValue ?? [] {
      guard let instance = one["instance"] else {
        results.append(Self.errored(nil, "no instance"))
        continue
      }
      results.append(Self.judge(instance, compiled, validator))
    }
    var answer: JSONValue = .object([])
    answer["seq"] = seq
    answer["results"] = .array(results)
    return answer
  }

  private static func judge(
    _ instance: JSONValue, _ compiled: CompiledSchema, _ validator: SchemaValidator
  ) -> JSONValue {
    let explained = compiled.explain(instance).isValid
    // Numbers that BSON can't hold are judged as JSON alone.
    guard instance.fitsBSON else { return ["valid": .bool(explained)] }
    var bson = ByteWriter(capacity: 1024)
    do {
      try instance.utf8.withUnsafeBytes { try bson.append(bsonOf: $0) }
      guard let value = try BSONView(bson.bytes).first("") else { return errored(nil, "no value") }
      let judged = validator.validate(value: value)
      guard judged == explained else {
        return errored(nil, "judged \(judged) on BSON and \(explained) on JSON")
      }
      return ["valid": .bool(judged)]
    } catch {
      return errored(nil, "\(error)")
    }
  }

  private static func errored(_ seq: JSONValue?, _ message: String) -> JSONValue {
    var value: JSONValue = ["errored": true, "context": ["message": .string(message)]]
    if let seq { value["seq"] = seq }
    return value
  }
}

extension JSONValue {
  /// All its numbers are those of an int64 or a double, and no key holds a zero byte.
  var fitsBSON: Bool {
    switch self {
    case .null, .bool, .string: true
    case .number(let digits):
      Int64(digits) != nil
        || Double(digits).map { $0.isFinite && Self.isExact($0, digits) } ?? false
    case .array(let items): items.allSatisfy(\.fitsBSON)
    case .object(let members):
      members.allSatisfy { !$0.key.utf8.contains(0) && $0.value.fitsBSON }
    }
  }

  /// The double's shortest text has the same digits.
  private static func isExact(_ value: Double, _ digits: String) -> Bool {
    func significant(_ text: String) -> (digits: [Character], exponent: Int) {
      let parts = text.lowercased().split(separator: "e")
      var exponent = parts.count > 1 ? Int(parts[1].replacing("+", with: "")) ?? 0 : 0
      var found: [Character] = []
      var sawPoint = false
      for c in parts.first ?? "" where c != "-" {
        if c == "." {
          sawPoint = true
        } else {
          found.append(c)
          if sawPoint { exponent -= 1 }
        }
      }
      while found.first == "0" { found.removeFirst() }
      while found.last == "0" {
        found.removeLast()
        exponent += 1
      }
      return (found, found.isEmpty ? 0 : exponent)
    }
    return significant("\(value)") == significant(digits)
  }
}
