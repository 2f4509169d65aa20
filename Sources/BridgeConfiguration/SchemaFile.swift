import Foundation
public import JSON
public import JSONSchema
import Synchronization

/// One of the files that a schema consists of.
public struct SchemaSource: Sendable {
  /// As the configuration would name it.
  public var path: String
  /// What it can be requested by, for those that refer to it: the file's URI first.
  public var uris: [String]
  public var document: JSONValue
}

/// A JSON Schema in a file, with the schemas in its folder and below, which it may refer to.
public struct SchemaFile: Sendable {
  /// Its `$id`.
  public let id: String?
  private let name: String
  private let uri: String
  private let text: String
  public let document: JSONValue
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
    let others = others.map { (name: $0.name, document: $0.document) }
    return ([(name: name, document: document)] + others).flatMap { name, document in
      UnknownKeyword.all(in: document, default: draft ?? .draft2020).map { (name, $0) }
    }
  }

  /// The neighbouring schemas that it refers to, once it was compiled.
  private var others: [SchemaFolder.File] { folder.asked.filter { $0.uris.first != uri } }

  /// Its files, once it was compiled: its own first, then the neighbours that it refers to.
  var sources: [SchemaSource] {
    let parent = name.lastIndex(of: "/").map { String(name[...$0]) } ?? ""
    return [SchemaSource(path: name, uris: [uri], document: document)]
      + others.map {
        SchemaSource(path: parent + $0.path, uris: $0.uris, document: $0.document)
      }
  }

  /// The document by itself: once it was compiled, with the neighbouring schemas that it refers to in `$defs`
  /// (draft-07: `definitions`), each under its URI.
  ///
  /// Source: JSON Schema 2020-12, section 9.3, compound schema documents.
  var bundled: JSONValue {
    let others = others
    guard !others.isEmpty, case .object = document else { return document }
    // Here a file with an `$id` is known by that alone, not by its path.
    let base = folder.bundleURI(of: uri)
    var uris: [String: String] = [:]
    for other in others { if let id = other.id { uris[folder.bundleURI(of: other.uris[0])] = id } }
    let names = RenamedReferences(uris, in: id ?? base)
    guard case .object(var members) = names.renamed(document, base: base) else { return document }
    let draft = document["$schema"]?.stringValue.flatMap { SchemaDraft(metaschema: $0) }
    let keyword = draft == .draft7 ? "definitions" : "$defs"
    var embedded: [JSONValue.Member] = []
    if case .object(let own)? = members.first(where: { $0.key == keyword })?.value {
      embedded = own
    }
    for other in others {
      let path = folder.bundleURI(of: other.uris[0])
      let document = names.renamed(other.document, base: path)
      guard case .object(let inner) = document else { continue }
      let uri = other.document["$id"]?.stringValue ?? path
      // Draft-07 ignores everything beside a $ref.
      let own =
        draft == .draft7 && inner.contains { $0.key == "$ref" }
        ? [.init("allOf", .array([document]))] : inner.filter { $0.key != "$id" }
      embedded.append(.init(uri, .object([.init("$id", .string(uri))] + own)))
    }
    members.removeAll { $0.key == keyword }
    members.append(.init(keyword, .object(embedded)))
    if id == nil { members.insert(.init("$id", .string(base)), at: 0) }
    return .object(members)
  }

  /// A hash of its text, and of its folder's schemas if it uses any.
  var digest: String { "\(text.utf8.count):\(text)\(folder.digest)" }
}

/// The schemas in one folder and those below it, by the URIs of their files and by their `$id`s. Read
/// when the first of them is requested.
final class SchemaFolder: Sendable {
  struct File {
    /// From the folder on.
    var path: String
    /// What it can be requested by, its own first.
    var uris: [String]
    var document: JSONValue

    var name: String { path.split(separator: "/").last.map(String.init) ?? path }

    /// Its `$id`, as references name it.
    var id: String? {
      document["$id"]?.stringValue.map { $0.hasSuffix("#") ? String($0.dropLast()) : $0 }
    }
  }

  private struct Contents {
    var files: [File] = []
    /// Indices of files by URI.
    var byURI: [String: Int] = [:]
    /// Files that were requested, in that order.
    var asked: [Int] = []
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
      guard let index = contents?.byURI[uri] else { return nil }
      if contents?.asked.contains(index) == false { contents?.asked.append(index) }
      return contents?.files[index].document
    }
  }

  /// The requested schemas that were found.
  var asked: [File] {
    contents.withLock { contents in
      guard let contents else { return [] }
      return contents.asked.map { contents.files[$0] }
    }
  }

  var digest: String { contents.withLock { $0?.digest ?? "" } }

  /// What a file without `$id` is called beside the others, wherever they are: its path in the folder, from which
  /// relative references lead to its neighbours.
  func bundleURI(of file: String) -> String { (base ?? "file:///") + reference(to: file) }

  /// A file's URI from the folder's on.
  private func reference(to file: String) -> Substring {
    let start = Self.uri(of: root.path)
    return file.dropFirst(start.count + (start.hasSuffix("/") ? 0 : 1))
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
      let uri = Self.uri(of: file.path)
      let reference = String(reference(to: uri))
      let path = reference.removingPercentEncoding ?? reference
      var uris = [uri]
      var entry = File(path: path, uris: uris, document: json)
      if let id = entry.id {
        uris.append(id)
      } else if let base {
        uris += [base + reference, base + path]
      }
      entry.uris = uris
      contents.files.append(entry)
      for uri in uris { contents.byURI[uri] = contents.files.count - 1 }
      contents.digest += "\(text.utf8.count):\(text)"
    }
    return contents
  }

  static func uri(of file: String) -> String {
    URL(fileURLWithPath: file).standardizedFileURL.absoluteString
  }
}
