public import BSON

/// What a collection's documents show of their fields, as far as a proposal needs it. Bounded memory; keeps no
/// document. Not Sendable.
public final class SampledCollection {
  public let database: String
  public let name: String
  /// The server's count, where it is known.
  public var total: UInt64?
  public private(set) var documents = 0
  /// Documents that could not be read to their end.
  public private(set) var unreadable = 0
  /// By path below the document, arrays passed over: why it looks like a secret. Never a part of `_id`.
  private(set) var secrets: [String: String] = [:]
  /// The kinds of `_id`.
  private(set) var idKinds: Set<String> = []
  private(set) var longestID = 0
  private(set) var fields: [String: Field] = [:]

  /// A field that may name a document's parent: at the top, or one level below.
  struct Field {
    var presence = 0
    /// Kinds of its values; `other` for what can't be a token of a subject.
    var kinds: Set<String> = []
    /// Hashes of different values.
    var values: Set<Int> = []
    var longest = 0
  }

  private static let mostFields = 512
  private static let mostValues = 4096
  private static let mostSecrets = 256
  private static let deepest = 12

  public init(database: String, name: String) {
    self.database = database
    self.name = name
  }

  /// Takes note of a document.
  public func observe(_ document: BSONView) {
    documents += 1
    do throws(BSONError) {
      try walk(document, path: [], isArray: false)
    } catch {
      unreadable += 1
    }
  }

  /// Takes note of a change that shows the document's key alone.
  public func observe(key: BSONView) {
    guard let id = try? key.first("_id") else { return }
    note(id: id)
  }

  /// Takes note of the secrets among the fields that an update sets.
  public func observe(updatedFields: BSONView) {
    var elements = updatedFields.elements()
    while let element = try? elements.next() {
      let names = String(decoding: element.key, as: UTF8.self).split(separator: ".")
        .map(String.init).filter { !$0.allSatisfy { $0.isASCII && $0.isNumber } }
      if let index = names.firstIndex(where: { SecretLikeness.reason(name: $0) != nil }),
        names[0] != "_id", let reason = SecretLikeness.reason(name: names[index])
      {
        note(secret: Array(names[...index]), reason)
      } else if let document = element.document, !names.isEmpty {
        try? walk(document, path: names, isArray: element.type == .array)
      }
    }
  }

  private func note(id: BSONElement) {
    let (kind, length) = Self.kind(id)
    idKinds.insert(kind)
    longestID = max(longestID, length)
  }

  private func walk(_ view: BSONView, path: [String], isArray: Bool) throws(BSONError) {
    guard path.count < Self.deepest else { return }
    var elements = view.elements()
    while let element = try elements.next() {
      let key = String(decoding: element.key, as: UTF8.self)
      if path.isEmpty, key == "_id" {
        note(id: element)
        continue
      }
      // No path can name it.
      if key.isEmpty { continue }
      // Paths pass over indexes, and over keys that look like them.
      let isPassedOver = isArray || key.allSatisfy { $0.isASCII && $0.isNumber }
      let inner = isPassedOver ? path : path + [key]
      if !isPassedOver, let reason = SecretLikeness.reason(name: key) {
        // A flag or a count beside a secret is none.
        if element.type != .bool, element.type != .null { note(secret: inner, reason) }
        continue
      }
      if let text = element.string, element.type == .string {
        // Enough of it to tell.
        let start = String(decoding: text.prefix(4096), as: UTF8.self)
        if !inner.isEmpty, let reason = SecretLikeness.reason(value: start) {
          note(secret: inner, reason)
        }
      }
      if !isPassedOver, inner.count <= 2, !isArray { note(field: inner, element) }
      if let document = element.document {
        try walk(document, path: inner, isArray: element.type == .array)
      }
    }
  }

  private func note(secret path: [String], _ reason: String) {
    let text = path.joined(separator: ".")
    if secrets[text] == nil, secrets.count < Self.mostSecrets { secrets[text] = reason }
  }

  private func note(field path: [String], _ element: BSONElement) {
    let text = path.joined(separator: ".")
    guard fields[text] != nil || fields.count < Self.mostFields, element.type != .null else {
      return
    }
    let (kind, length) = Self.kind(element)
    var hasher = Hasher()
    hasher.combine(bytes: element.value)
    let hash = hasher.finalize()
    var field = fields.removeValue(forKey: text) ?? Field()
    field.presence += 1
    field.kinds.insert(kind)
    field.longest = max(field.longest, length)
    if field.values.count < Self.mostValues { field.values.insert(hash) }
    fields[text] = field
  }

  /// The name that `$type` has for it, and the length of its text.
  private static func kind(_ element: BSONElement) -> (String, length: Int) {
    switch element.type {
    case .string: ("string", element.string?.count ?? 0)
    case .objectID: ("objectId", 24)
    case .int32: ("int", 11)
    case .int64: ("long", 20)
    case .binary where element.uuid != nil: ("binData", 36)
    default: ("other", 1)
    }
  }

  /// The secrets' paths, each with its reason; where a document is full of them, the document.
  var exclusions: [(path: String, reason: String)] {
    var paths = secrets
    // Secrets under names that are data.
    let parents = Dictionary(grouping: paths.keys) { path in
      path.split(separator: ".").dropLast(2).joined(separator: ".")
    }
    for (parent, children) in parents where !parent.isEmpty && children.count > 8 {
      let reason = paths[children[0]] ?? ""
      for child in children { paths[child] = nil }
      paths[parent] = "\(children.count) fields in it look like secrets: \(reason)"
    }
    return paths.keys.sorted()
      .filter { path in
        !paths.keys.contains { $0 != path && path.hasPrefix($0 + ".") }
      }.map { ($0, paths[$0] ?? "") }
  }
}
