import Foundation
import JSON
public import JSONSchema

/// A JSON Schema in a file, with the schemas in its folder and below, which it may refer to.
public struct SchemaFile: Sendable {
  /// Its `$id`.
  public let id: String?
  /// Of its text and those of its neighbours.
  let digest: String
  private let name: String
  private let uri: String
  private let document: JSONValue
  private let set: SchemaSet

  /// - Parameter name: what errors call it; the path itself, unless people know it by another.
  public init(_ path: String, called name: String? = nil) throws(SchemaError) {
    self.name = name ?? path
    var folder = try SchemaFolder(of: path)
    uri = SchemaFolder.uri(of: path)
    let text: String
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
    if let id { folder.publish(under: id) }
    set = folder.set
    digest = "\(text.utf8.count):\(text)\(folder.digest)"
  }

  /// - Throws: with the file's name, a JSON pointer and what would be right.
  public func compile(_ options: SchemaOptions) throws(SchemaError) -> CompiledSchema {
    do {
      return try CompiledSchema(document, uri: uri, options: options, set: set)
    } catch {
      // People look for a file, not for its URI.
      let isOwn = error.document == uri || error.document == id || error.document.isEmpty
      throw SchemaError(
        document: isOwn ? name : error.document, pointer: error.pointer, message: error.message)
    }
  }
}

/// The schemas in one folder (and those below it), by the URIs of their files and by their `$id`s.
struct SchemaFolder {
  var set = SchemaSet()
  private(set) var digest = ""
  private let root: URL
  /// By path within the folder.
  private var documents: [(path: String, json: JSONValue)] = []

  private static let most = 2_000

  init(of file: String) throws(SchemaError) {
    root = URL(fileURLWithPath: file).standardizedFileURL.deletingLastPathComponent()
    // Links are not followed: what is referred to lies in the folder itself.
    let walk = FileManager.default.enumerator(
      at: root, includingPropertiesForKeys: [.isRegularFileKey], options: [.skipsHiddenFiles])
    var found: [URL] = []
    while let next = walk?.nextObject() as? URL {
      guard next.pathExtension == "json",
        (try? next.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile) == true
      else { continue }
      found.append(next)
      guard found.count <= Self.most else {
        throw SchemaError(
          document: root.path, pointer: "",
          message: "more than \(Self.most) files in the schema's folder; give schemas their own")
      }
    }
    for file in found.sorted(by: { $0.path < $1.path }) {
      guard let text = try? SmallFile.read(file.path), let json = try? JSONValue(parsing: text)
      else { continue }
      set.add(json, uri: Self.uri(of: file.path))
      documents.append((String(file.standardizedFileURL.path.dropFirst(root.path.count + 1)), json))
      if let id = json["$id"]?.stringValue { set.add(json, uri: id) }
      digest += "\(text.utf8.count):\(text)"
    }
  }

  /// A schema with an `$id` names its neighbours by URIs beside that: these are the folder's files,
  /// unless one says itself what it is called.
  mutating func publish(under id: String) {
    guard let slash = id.lastIndex(of: "/") else { return }
    for (path, json) in documents where json["$id"] == nil {
      set.add(json, uri: String(id[...slash]) + path)
    }
  }

  static func uri(of file: String) -> String {
    URL(fileURLWithPath: file).standardizedFileURL.absoluteString
  }
}
