public import BSON
import SchemaInference

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
  /// By path below the document, arrays passed over: why it looks like a secret.
  private(set) var secrets: [String: String] = [:]
  /// Why a field looks like a secret that no path can name, nor a field around it.
  private(set) var namelessSecret: String?
  /// The kinds of `_id`.
  private(set) var idKinds: Set<String> = []
  private(set) var longestID = 0
  /// A document's `_id` is an empty text, which can't be a token of a subject, nor an id.
  private(set) var hasEmptyID = false
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
    try? look(at: id, [Self.id], isPassedOver: false, isArray: false)
  }

  /// Takes note of the secrets among the fields that an update sets.
  public func observe(updatedFields: BSONView) {
    var elements = updatedFields.elements()
    while let element = try? elements.next() {
      let names = String(decoding: element.key, as: UTF8.self).split(separator: ".")
        .map(String.init).filter { !$0.allSatisfy { $0.isASCII && $0.isNumber } }
      guard !names.isEmpty else { continue }
      let around = names.indices.dropLast().first { SecretLikeness.reason(name: names[$0]) != nil }
      if let around, let reason = SecretLikeness.reason(name: names[around]) {
        note(secret: Array(names[...around]), reason)
      } else {
        try? look(at: element, names, isPassedOver: false, isArray: false)
      }
    }
  }

  private static let id = "_id"

  private func note(id: BSONElement) {
    let (kind, length) = Self.kind(id)
    if kind == "string", length == 0 { hasEmptyID = true }
    idKinds.insert(kind)
    longestID = max(longestID, length)
  }

  private func walk(_ view: BSONView, path: [String], isArray: Bool) throws(BSONError) {
    guard path.count < Self.deepest else { return }
    var elements = view.elements()
    while let element = try elements.next() {
      let key = String(decoding: element.key, as: UTF8.self)
      if path.isEmpty, key == Self.id { note(id: element) }
      // Paths pass over indexes, and over keys that look like them.
      let isPassedOver = isArray || (!key.isEmpty && key.allSatisfy { $0.isASCII && $0.isNumber })
      // A name that is data, such as a token.
      if !isArray, !path.isEmpty, let reason = SecretLikeness.reason(value: key) {
        note(secret: path, "a name in it: " + reason.replacing("a value", with: "it"))
        continue
      }
      try look(
        at: element, isPassedOver ? path : path + [key], isPassedOver: isPassedOver,
        isArray: isArray)
    }
  }

  /// Takes note of a value, and of what is in it.
  ///
  /// - Parameters:
  ///   - path: the field's. `isPassedOver`: it is another one's, of which this is an item.
  ///   - isArray: whether it is in an array.
  private func look(
    at element: BSONElement, _ path: [String], isPassedOver: Bool, isArray: Bool
  ) throws(BSONError) {
    if !isPassedOver, let name = path.last,
      let reason = SecretLikeness.reason(name: name, SecretLikeness.Value(element))
    {
      return note(secret: path, reason)
    }
    if let text = element.string, element.type == .string {
      // Enough of it to tell.
      let start = String(decoding: text.prefix(4096), as: UTF8.self)
      if !path.isEmpty, let reason = SecretLikeness.reason(value: start) {
        note(secret: path, reason)
      }
    }
    if !isPassedOver, path.count <= 2, !isArray, path[0] != Self.id { note(field: path, element) }
    if let document = element.document {
      try walk(document, path: path, isArray: element.type == .array)
    }
  }

  /// Why its keys look like secrets.
  var secretKey: String? { secrets[Self.id] }

  private func note(secret path: [String], _ reason: String) {
    // Of a field that no path can name, the one around it.
    let nameable = path.prefix { !Self.isNameless($0) }
    guard !nameable.isEmpty else {
      namelessSecret = namelessSecret ?? reason
      return
    }
    let text = nameable.joined(separator: ".")
    if secrets[text] == nil, secrets.count < Self.mostSecrets { secrets[text] = reason }
  }

  /// Paths have dots between their parts, and no part of them is empty.
  private static func isNameless(_ name: String) -> Bool {
    name.split(separator: ".", omittingEmptySubsequences: false).contains(where: \.isEmpty)
  }

  private func note(field path: [String], _ element: BSONElement) {
    guard !path.contains(where: Self.isNameless) else { return }
    let text = path.joined(separator: ".")
    // An empty text is no token of a subject.
    guard fields[text] != nil || fields.count < Self.mostFields, element.type != .null,
      element.type != .string || element.string?.isEmpty == false
    else { return }
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

extension SecretLikeness.Value {
  init(_ element: BSONElement) {
    switch element.type {
    case .bool, .null, .undefined, .date, .timestamp: self = .mark
    case .int32, .int64, .double, .decimal128: self = .number
    default: self = .other
    }
  }
}
