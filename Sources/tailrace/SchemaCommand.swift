import ArgumentParser
import BSON
import BridgeConfiguration
import Foundation
import JSON
import JSONSchema
import MongoSource

struct SchemaCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schema", abstract: "JSON Schema outside of the bridge.",
    subcommands: [
      SchemaCheck.self, SchemaDiffCommand.self, SchemaInferCommand.self, SchemaPublish.self,
      SchemaList.self, SchemaShow.self, SchemaPull.self, SchemaAsyncAPI.self, SchemaBowtie.self,
    ])
}

/// `tailrace schema check`.
struct SchemaCheck: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Holds documents against a schema.",
    discussion: """
      Files hold one document, or one a line. What is judged is the JSON that --style makes of \
      a document, as the bridge would publish it. Exit code 1 if a document is invalid, 78 if the \
      schema can't be compiled. The schema may refer to others in its folder; nothing is fetched.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case json, extended, bson }
  enum Style: String, ExpressibleByArgument, CaseIterable {
    case simplified, relaxed, canonical

    var style: JSONStyle {
      switch self {
      case .simplified: .simplified
      case .relaxed: .relaxed
      case .canonical: .canonical
      }
    }
  }

  @Argument(help: "The schema's file.") var schema: String
  @Argument(help: "Documents; standard input if none is given or -.") var files: [String] = []
  @Option(help: "What the files hold: json, extended (MongoDB's Extended JSON), bson.")
  var format: Format?
  @Option(help: "What BSON becomes in JSON.") var style = Style.simplified
  @Flag(name: .customLong("no-formats"), help: "Take `format` for an annotation.")
  var noFormats = false
  @Option(
    name: .customLong("from-mongodb"), help: "Instead of files: a sample of --namespace there.")
  var uri: String?
  @Option(help: "database.collection, with --from-mongodb.") var namespace: String?
  @Option(help: "How many documents to take from there (1000).") var sample: Int?
  @Flag(help: "One object a document: the standard's output format \"basic\".") var json = false

  func validate() throws {
    guard uri != nil else {
      guard namespace == nil, sample == nil else {
        throw ValidationError("--namespace and --sample go with --from-mongodb")
      }
      return
    }
    guard format == nil else { throw ValidationError("--format is for files") }
    guard files.isEmpty else { throw ValidationError("either files or --from-mongodb") }
    guard let namespace, namespace.split(separator: ".", maxSplits: 1).count == 2 else {
      throw ValidationError("--from-mongodb needs --namespace database.collection")
    }
  }

  func run() async throws {
    let compiled: CompiledSchema
    do {
      compiled = try SchemaFile(schema).compile(
        SchemaOptions(style: style.style, assertFormats: !noFormats))
    } catch {
      printError("\(error)")
      throw ExitCode(78)
    }
    var judge = DocumentJudge(compiled, json: json)
    if let uri, let namespace {
      try await judgeSample(uri, namespace, &judge)
    } else {
      for file in files.isEmpty ? ["-"] : files { try judgeFile(file, &judge) }
    }
    if !json { print(judge.summary) }
    if judge.invalid > 0 { throw ExitCode(1) }
  }

  private func judgeSample(
    _ uri: String, _ namespace: String, _ judge: inout DocumentJudge
  ) async throws {
    let parts = namespace.split(separator: ".", maxSplits: 1).map(String.init)
    let documents: [[UInt8]]
    do {
      documents = try await MongoAdmin.sample(
        MongoSourceOptions(uri: uri, readConcernMajority: false), database: parts[0],
        collection: parts[1], count: sample ?? 1000)
    } catch {
      printError(MongoError.words(of: error))
      throw ExitCode(error.isTransient ? 69 : 78)
    }
    for (index, document) in documents.enumerated() {
      judge.judge(bson: document, place: "\(namespace) \(index + 1)")
    }
  }

  private func judgeFile(_ file: String, _ judge: inout DocumentJudge) throws {
    let data: Data
    do {
      data =
        file == "-"
        ? FileHandle.standardInput.readDataToEndOfFile()
        : try Data(contentsOf: URL(fileURLWithPath: file))
    } catch {
      printError("\(file) can't be read: \(error.localizedDescription)")
      throw ExitCode(64)
    }
    let format = format ?? (file.hasSuffix(".bson") ? .bson : .json)
    do throws(DocumentJudge.Unreadable) {
      switch format {
      case .bson: try judge.judge(dump: Array(data), file: file)
      case .json, .extended:
        try judge.judge(
          text: String(decoding: data, as: UTF8.self), file: file, isExtended: format == .extended)
      }
    } catch {
      printError(error.description)
      throw ExitCode(64)
    }
  }
}

/// Judges one document after the other, and says what is wrong with it.
struct DocumentJudge {
  struct Unreadable: Error, CustomStringConvertible {
    var description: String
  }

  private let validator: SchemaValidator
  private let json: Bool
  private(set) var judged = 0
  private(set) var invalid = 0

  init(_ schema: CompiledSchema, json: Bool) {
    validator = SchemaValidator(schema)
    self.json = json
  }

  var summary: String { "\(judged) documents: \(judged - invalid) valid, \(invalid) invalid" }

  /// Documents one behind the other, as mongodump writes them.
  mutating func judge(dump: [UInt8], file: String) throws(Unreadable) {
    var at = 0
    var number = 0
    while at < dump.count {
      number += 1
      guard dump.count - at >= 5 else {
        throw Unreadable(
          description: "\(file): \(dump.count - at) bytes at the end are no document")
      }
      let length = (0..<4).reduce(0) { $0 | Int(dump[at + $1]) << (8 * $1) }
      guard length >= 5, at + length <= dump.count else {
        throw Unreadable(
          description: "\(file): document \(number), at byte \(at), has a length of \(length)")
      }
      judge(bson: Array(dump[at..<(at + length)]), place: "\(file):\(number)")
      at += length
    }
  }

  /// One document, or one a line.
  mutating func judge(text: String, file: String, isExtended: Bool) throws(Unreadable) {
    if (try? JSONValue(parsing: text.utf8, maximumDepth: 256)) != nil {
      return try judge(line: text, place: file, isExtended: isExtended)
    }
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    where !line.allSatisfy(\.isWhitespace) {
      try judge(line: String(line), place: "\(file):\(index + 1)", isExtended: isExtended)
    }
  }

  private mutating func judge(
    line: String, place: String, isExtended: Bool
  ) throws(Unreadable) {
    if isExtended {
      do {
        judge(bson: try ExtendedJSON.bson(line), place: place)
      } catch {
        throw Unreadable(description: "\(place): \(error)")
      }
      return
    }
    do {
      let value = try JSONValue(parsing: line.utf8, maximumDepth: 256)
      guard value.fitsBSON else {
        // Exactly: JSON may hold numbers that BSON doesn't.
        return tell(validator.schema.explain(value), place)
      }
      var bson = ByteWriter(capacity: line.utf8.count)
      try value.utf8.withUnsafeBytes { try bson.append(bsonOf: $0) }
      guard let element = try BSONView(bson.bytes).first("") else { return }
      tell(report(element), place)
    } catch {
      throw Unreadable(description: "\(place): \(error)")
    }
  }

  /// How many violations of a document are told.
  private static let mostViolations = 100
  /// Larger documents get no annotations, in bytes.
  private static let mostExplained = 1 << 20

  /// By the bridge's own judge, so that both say the same; the other one only adds the annotations that
  /// the standard's output has for valid documents.
  private func report(_ element: BSONElement) -> SchemaReport {
    let found = validator.firstViolations(value: element, limit: Self.mostViolations)
    guard found.isEmpty, json, element.value.count <= Self.mostExplained else {
      return SchemaReport(violations: found, annotations: [])
    }
    let full = validator.explain(value: element)
    return full.isValid ? full : .valid
  }

  mutating func judge(bson: [UInt8], place: String) {
    let report = bson.withUnsafeBytes { bytes -> SchemaReport? in
      guard let view = try? BSONView(bytes) else { return nil }
      let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
      return self.report(BSONElement(type: .document, key: nothing, value: view.bytes))
    }
    guard let report else {
      judged += 1
      invalid += 1
      print(
        json
          ? #"{"document":\#(JSONValue.string(place).text()),"error":"no BSON"}"#
          : "\(place): no BSON")
      return
    }
    tell(report, place)
  }

  private mutating func tell(_ report: SchemaReport, _ place: String) {
    judged += 1
    if !report.isValid { invalid += 1 }
    if json {
      var value = report.basicOutput
      if case .object(let members) = value {
        value = .object([.init("document", .string(place))] + members)
      }
      print(value.text())
    } else if !report.isValid {
      print("\(place): invalid")
      for violation in report.violations.prefix(Self.mostViolations) {
        let at = violation.instanceLocation.isEmpty ? "the document" : violation.instanceLocation
        print("  \(at): \(violation.error)  (\(violation.keywordLocation))")
      }
    }
  }
}
