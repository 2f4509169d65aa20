import BSON
import Foundation
import JSON
public import JSONSchema
import Mapping

/// The contract that a rule's bodies must keep.
public struct RuleSchema: Sendable {
  /// As the configuration names it.
  public var path: String
  /// Judges bodies in the rule's own style, on the BSON they are made from.
  public var compiled: CompiledSchema
  /// The same for bodies as JSON, where they differ from the BSON of their events.
  public var plain: CompiledSchema
  /// Its `$id`, where that is a URI: `ce-dataschema`.
  public var identifier: String?
  /// Of the schema and everything it may refer to: changes when any of it does.
  public var digest: String

  /// Reads and compiles a file; what it refers to must lie in its folder.
  init(
    path: String, besideFile file: String, style: JSONStyle
  ) throws(SchemaError) {
    self.path = path
    let whole = SmallFile.resolve(path, besideFile: file)
    var folder = try SchemaFolder(of: whole)
    let uri = SchemaFolder.uri(of: whole)
    let text: String
    do {
      text = try SmallFile.read(whole)
    } catch {
      throw SchemaError(document: path, pointer: "", message: "it can't be read: \(error.reason)")
    }
    let document: JSONValue
    do {
      document = try JSONValue(parsing: text)
    } catch {
      throw SchemaError(document: path, pointer: "", message: "\(error)")
    }
    let id = document["$id"]?.stringValue
    if let id { folder.publish(under: id) }
    do {
      compiled = try CompiledSchema(
        document, uri: uri, options: SchemaOptions(style: style), set: folder.set)
      plain =
        style == .simplified
        ? compiled
        : try CompiledSchema(
          document, uri: uri, options: SchemaOptions(style: .simplified), set: folder.set)
    } catch {
      // People look for a file, not for its URI.
      let isOwn = error.document == uri || error.document == id
      let document = isOwn || error.document.isEmpty ? path : error.document
      throw SchemaError(document: document, pointer: error.pointer, message: error.message)
    }
    identifier = id.flatMap { $0.contains(":") ? $0 : nil }
    digest = "\(text.utf8.count):\(text)\(folder.digest)"
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
