import BSON
import Foundation
import JSON
import JSONSchema

/// The JSON Schema Test Suite (github.com/json-schema-org/JSON-Schema-Test-Suite), where it is at
/// hand. It is no part of this repository: $JSON_SCHEMA_TEST_SUITE names its folder.
enum Suite {
  static let folder: URL? = {
    let given = ProcessInfo.processInfo.environment["JSON_SCHEMA_TEST_SUITE"]
    let path = given ?? "../shared/data/json-schema-test-suite"
    let url = URL(fileURLWithPath: path, isDirectory: true)
    return FileManager.default.fileExists(atPath: url.appending(path: "tests").path) ? url : nil
  }()

  static var isMissing: Bool { folder == nil }

  struct Draft: Sendable, CustomStringConvertible {
    var draft: SchemaDraft
    var folder: String
    /// As many tests as the suite has: fewer means that something wasn't run.
    var required: Int
    var optional: Int
    var formats: Int
    var description: String { folder }
  }

  static let drafts = [
    Draft(draft: .draft2020, folder: "draft2020-12", required: 1299, optional: 162, formats: 764),
    Draft(draft: .draft2019, folder: "draft2019-09", required: 1259, optional: 158, formats: 757),
    Draft(draft: .draft7, folder: "draft7", required: 927, optional: 118, formats: 676),
  ]

  struct Case {
    var name: String
    var schema: JSONValue
    var instance: JSONValue
    var isValid: Bool
    var output: JSONValue?
  }

  /// All cases in the files directly in a folder.
  static func cases(_ path: String) throws -> [Case] {
    guard let folder else { return [] }
    let url = folder.appending(path: path)
    let files = try FileManager.default.contentsOfDirectory(atPath: url.path).sorted()
    var cases: [Case] = []
    for file in files where file.hasSuffix(".json") {
      let document = try JSONValue(parsing: Data(contentsOf: url.appending(path: file)))
      for group in document.arrayValue ?? [] {
        for test in group["tests"]?.arrayValue ?? [] {
          let names = [
            String(file.dropLast(5)), group["description"]?.stringValue ?? "",
            test["description"]?.stringValue ?? "",
          ]
          cases.append(
            Case(
              name: names.joined(separator: ": "), schema: group["schema"] ?? .null,
              instance: test["data"] ?? .null, isValid: test["valid"]?.boolValue ?? false,
              output: test["output"]))
        }
      }
    }
    return cases
  }

  /// The documents that the suite's schemas refer to, under the URIs they use.
  static let remotes: SchemaSet = {
    var set = SchemaSet()
    guard let folder else { return set }
    let base = folder.appending(path: "remotes")
    let files = FileManager.default.enumerator(atPath: base.path)
    while let file = files?.nextObject() as? String {
      guard file.hasSuffix(".json"), let data = try? Data(contentsOf: base.appending(path: file)),
        let document = try? JSONValue(parsing: data)
      else { continue }
      set.add(document, uri: "http://localhost:1234/" + file)
    }
    return set
  }()
}

/// A value as BSON: `{"v": value}`.
struct Wrapped {
  let bytes: [UInt8]

  init?(_ value: JSONValue) {
    var writer = ByteWriter()
    let text = Array(JSONValue.object([.init("v", value)]).text().utf8)
    let isRead = text.withUnsafeBytes { (try? writer.append(documentOf: $0)) != nil }
    guard isRead else { return nil }
    bytes = Array(writer.bytes)
  }

  init(document: [UInt8]) { bytes = document }

  /// Calls `body` with the element `v`.
  func use<Result>(_ body: (BSONElement) throws -> Result) throws -> Result {
    try bytes.withUnsafeBytes { raw in
      var elements = try BSONView(raw).elements()
      guard let element = try elements.next() else { throw BSONError(.truncated, at: 0) }
      return try body(element)
    }
  }
}
