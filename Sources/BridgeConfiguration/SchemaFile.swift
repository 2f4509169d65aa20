import Foundation
import JSON
public import JSONSchema
import Synchronization

/// A JSON Schema in a file, with the schemas in its folder and below, which it may refer to.
public struct SchemaFile: Sendable {
  /// Its `$id`.
  public let id: String?
  private let name: String
  private let uri: String
  private let text: String
  private let document: JSONValue
  private let folder: SchemaFolder

  /// - Parameter name: its name in errors; by default the path.
  public init(_ path: String, called name: String? = nil) throws(SchemaError) {
    self.name = name ?? path
    uri = SchemaFolder.uri(of: path)
    do {
      text = try SmallFile.read(path)
    } catch {
      throw SchemaError(
        document: self.name, pointer: "", message: "it can't be read: \(error.reason)")
    }
    do {
      document = try JSONValue(parsing: text)
    } catch {
      throw SchemaError(document: self.name, pointer: "", message: "\(error)")
    }
    id = document["$id"]?.stringValue
    folder = SchemaFolder(of: path, id: id)
  }

  /// - Throws: an error with the file's name, a JSON pointer and the remedy.
  public func compile(_ options: SchemaOptions) throws(SchemaError) -> CompiledSchema {
    let folder = folder
    do {
      return try CompiledSchema(
        document, uri: uri, options: options, set: SchemaSet { folder.document($0) })
    } catch {
      // People look for a file, not for its URI.
      let isOwn = error.document == uri || error.document == id || error.document.isEmpty
      throw SchemaError(
        document: isOwn ? name : error.document, pointer: error.pointer, message: error.message)
    }
  }

  /// Keywords without effect, such as misspelt ones: its own, and, once it was compiled, those of the
  /// neighbouring schemas that it refers to. With the document's name.
  var unknownKeywords: [(document: String, keyword: UnknownKeyword)] {
    let draft = document["$schema"]?.stringValue.flatMap { SchemaDraft(metaschema: $0) }
    let others = folder.asked.filter { $0.document != document }
    return ([(name: name, document: document)] + others).flatMap { name, document in
      UnknownKeyword.all(in: document, default: draft ?? .draft2020).map { (name, $0) }
    }
  }

  /// The document by itself: once it was compiled, with the neighbouring schemas that it refers to in `$defs`
  /// (draft-07: `definitions`), each under its URI.
  ///
  /// Source: JSON Schema 2020-12, section 9.3, compound schema documents.
  var bundled: JSONValue {
    let others = folder.asked.filter { $0.document != document }
    guard !others.isEmpty, case .object(var members) = document else { return document }
    let draft = document["$schema"]?.stringValue.flatMap { SchemaDraft(metaschema: $0) }
    let keyword = draft == .draft7 ? "definitions" : "$defs"
    var embedded: [JSONValue.Member] = []
    if case .object(let own)? = document[keyword] { embedded = own }
    for other in others {
      guard case .object(let inner) = other.document, let uri = folder.bundleURI(of: other.document)
      else { continue }
      // Draft-07 ignores everything beside a $ref.
      let own =
        draft == .draft7 && inner.contains { $0.key == "$ref" }
        ? [.init("allOf", .array([other.document]))] : inner.filter { $0.key != "$id" }
      embedded.append(.init(uri, .object([.init("$id", .string(uri))] + own)))
    }
    members.removeAll { $0.key == keyword }
    members.append(.init(keyword, .object(embedded)))
    if id == nil, let uri = folder.bundleURI(of: document) {
      members.insert(.init("$id", .string(uri)), at: 0)
    }
    return .object(members)
  }

  /// A hash of its text, and of its folder's schemas if it uses any.
  var digest: String { "\(text.utf8.count):\(text)\(folder.digest)" }
}

/// The schemas in one folder and those below it, by the URIs of their files and by their `$id`s. Read
/// when the first of them is requested.
final class SchemaFolder: Sendable {
  private struct Contents {
    var documents: [String: JSONValue] = [:]
    var asked: [(name: String, document: JSONValue)] = []
    var digest = ""
  }

  private let root: URL
  /// The neighbours' URIs for a schema with an `$id`: relative to that.
  private let base: String?
  private let contents = Mutex<Contents?>(nil)

  /// A folder with more files is not one of schemas.
  private static let most = 2_000

  init(of file: String, id: String?) {
    root = URL(fileURLWithPath: file).standardizedFileURL.deletingLastPathComponent()
    base = id.flatMap { id in id.lastIndex(of: "/").map { String(id[...$0]) } }
  }

  func document(_ uri: String) -> JSONValue? {
    contents.withLock { contents in
      if contents == nil { contents = read() }
      guard let document = contents?.documents[uri] else { return nil }
      let name = uri.split(separator: "/").last.map(String.init) ?? uri
      if contents?.asked.contains(where: { $0.document == document }) == false {
        contents?.asked.append((name, document))
      }
      return document
    }
  }

  /// The requested schemas that were found.
  var asked: [(name: String, document: JSONValue)] { contents.withLock { $0?.asked ?? [] } }

  var digest: String { contents.withLock { $0?.digest ?? "" } }

  /// What a document that was asked for is called beside the others, wherever they are: its own `$id`, or its path
  /// in the folder, from which relative references lead to its neighbours.
  func bundleURI(of document: JSONValue) -> String? {
    if let id = document["$id"]?.stringValue { return id }
    let prefix = Self.uri(of: root.path) + (root.hasDirectoryPath ? "" : "/")
    return contents.withLock { contents in
      contents?.documents.first { $0.value == document && $0.key.hasPrefix(prefix) }
        .map { (base ?? "file:///") + $0.key.dropFirst(prefix.count) }
    }
  }

  private func read() -> Contents {
    // Links are not followed: references must lead to files in the folder itself.
    let walk = FileManager.default.enumerator(
      at: root, includingPropertiesForKeys: [.isRegularFileKey], options: [.skipsHiddenFiles])
    var files: [URL] = []
    while let next = walk?.nextObject() as? URL, files.count < Self.most {
      guard next.pathExtension == "json",
        (try? next.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile) == true
      else { continue }
      files.append(next.standardizedFileURL)
    }
    var contents = Contents()
    for file in files.sorted(by: { $0.path < $1.path }) {
      guard let text = try? SmallFile.read(file.path), let json = try? JSONValue(parsing: text)
      else { continue }
      contents.documents[Self.uri(of: file.path)] = json
      if let id = json["$id"]?.stringValue {
        contents.documents[id.hasSuffix("#") ? String(id.dropLast()) : id] = json
      } else if let base {
        let path = file.path.dropFirst(root.path.count + 1)
        contents.documents[base + path] = json
      }
      contents.digest += "\(text.utf8.count):\(text)"
    }
    return contents
  }

  static func uri(of file: String) -> String {
    URL(fileURLWithPath: file).standardizedFileURL.absoluteString
  }
}
