import BSON

/// Decodes an update's `o` to `{updatedFields, removedFields, truncatedArrays}` and, on request,
/// `disambiguatedPaths`, in the order and with the duplicate keys of change streams.
///
/// A `$v: 2` diff is a tree with the structure of the document. A document level has the sections `d`
/// (removed), `u` (changed) and `i` (new), then `s<field>` for each field with a change inside; an array
/// level starts with `a: true`, may have `l` (its new length), and has `u<index>` and `s<index>`. Paths
/// are joined with dots, so a field "a.b" looks like `b` inside `a`, and both may occur.
struct UpdateDescription: ~Copyable {
  /// Maximum size of a description; `decode` throws `updateTooLarge` beyond it.
  var limit = OplogDecoder.maximumUpdate
  /// Larger buffers are released after use.
  private static var keptSize: Int { 1 << 20 }
  private static var initialSize: Int { 16 << 10 }

  /// The description; `updatedFields` is written directly into it.
  private var document = ByteWriter(capacity: initialSize)
  /// Elements of the two arrays, appended to the description at the end.
  private var removed = ByteWriter(capacity: 512)
  private var removedCount = 0
  private var truncated = ByteWriter(capacity: 512)
  private var truncatedCount = 0
  /// The path of the current level, joined with dots.
  private var path = ByteWriter(capacity: 512)

  var disambiguatesPaths = false
  private var ambiguous = DisambiguatedPaths()

  init() {}

  /// The description, or nil if `object` is a replacement document. Valid until the next call.
  mutating func decode(_ object: BSONView) throws(OplogError) -> BSONView? {
    var version: BSONElement?
    var diff: BSONElement?
    var set: BSONElement?
    var unset: BSONElement?
    var other: UnsafeRawBufferPointer?
    var firstKey: UnsafeRawBufferPointer?
    var walk = object.elements()
    while let element = try walk.nextElement() {
      let key = element.key
      // A document may have a field "$v" (5.0 and later), but an update has no "_id".
      if key.equals("_id") { return nil }
      if firstKey == nil { firstKey = key }
      if key.equals("$v") {
        version = element
      } else if key.equals("diff") {
        diff = element
      } else if key.equals("$set") {
        set = element
      } else if key.equals("$unset") {
        unset = element
      } else if other == nil {
        other = key
      }
    }
    switch try version?.requireInteger("o.$v") {
    case 2:
      if let unknown = set?.key ?? unset?.key ?? other { throw Self.unknown(unknown) }
      guard let diff else { throw OplogError(.missingField("o.diff")) }
      return try describe(diff: try diff.requireDocument("o.diff"))
    // A user's applyOps may have operators without `$v`; servers treat them as `$v: 1`.
    case nil where firstKey?.hasPrefix("$") != true: return nil
    case 1, nil:
      if let unknown = diff?.key ?? other { throw Self.unknown(unknown) }
      return try describe(
        set: try set?.requireDocument("o.$set"), unset: try unset?.requireDocument("o.$unset"))
    case .some(let number): throw OplogError(.unsupportedUpdate(version: number))
    }
  }

  /// `{$v: 1, $set: {path: value}, $unset: {path: true}}`. As in change streams, its description has no
  /// `truncatedArrays`. The format doesn't distinguish dots in field names from separators.
  private mutating func describe(
    set: BSONView?, unset: BSONView?
  ) throws(OplogError) -> BSONView {
    start()
    let whole = document.beginDocument()
    let updatedFields = document.beginDocument(key: "updatedFields")
    if let set { try appendUpdated(set, depth: 0) }
    document.endDocument(updatedFields)
    if let unset { try appendRemoved(unset, depth: 0) }
    finishRemoved()
    document.endDocument(whole)
    return try BSONView(written: document.bytes)
  }

  /// `{$v: 2, diff: {…}}`
  private mutating func describe(diff: BSONView) throws(OplogError) -> BSONView {
    start()
    let whole = document.beginDocument()
    let updatedFields = document.beginDocument(key: "updatedFields")
    try decodeLevel(diff, depth: 0)
    document.endDocument(updatedFields)
    finishRemoved()
    let truncatedArrays = document.beginArray(key: "truncatedArrays")
    document.append(truncated.bytes)
    document.endDocument(truncatedArrays)
    if disambiguatesPaths {
      let paths = document.beginDocument(key: "disambiguatedPaths")
      document.append(ambiguous.bytes)
      document.endDocument(paths)
    }
    document.endDocument(whole)
    return try BSONView(written: document.bytes)
  }

  // MARK: The diff

  /// Servers write them in this order, `s` last. Any order of the first three is accepted, as the meaning
  /// is the same; but each occurs at most once, except `s`, and none after `s`.
  private struct Sections: OptionSet {
    var rawValue: UInt8
    static let delete = Sections(rawValue: 1)
    static let update = Sections(rawValue: 2)
    static let insert = Sections(rawValue: 4)
    static let within = Sections(rawValue: 8)
  }

  private mutating func decodeLevel(_ diff: BSONView, depth: Int) throws(OplogError) {
    guard depth < BSONView.maximumDepth else { throw OplogError(.updateTooLarge) }
    var seen: Sections = []
    // Change streams report removed fields after changed and new ones, though the diff has them first.
    var deleted: BSONView?
    var walk = diff.elements()
    while let element = try walk.nextElement() {
      let key = element.key
      guard key.count > 0 else { throw Self.unknown(key) }
      let name = key.readByte(at: 0)
      if name == UInt8(ascii: "s") {
        if let fields = deleted {
          deleted = nil
          try appendRemoved(fields, depth: depth)
        }
        seen.insert(.within)
        let inner = try element.requireDocument("o.diff.s")
        try descend(into: key, inner, depth: depth)
        continue
      }
      guard key.count == 1 else { throw Self.unknown(key) }
      let section: Sections
      switch name {
      case UInt8(ascii: "d"): section = .delete
      case UInt8(ascii: "u"): section = .update
      case UInt8(ascii: "i"): section = .insert
      case UInt8(ascii: "a") where seen.isEmpty && depth > 0:
        guard try element.requireBool("o.diff.a") else { throw Self.unknown(key) }
        return try decodeArray(walk, depth: depth)
      default: throw Self.unknown(key)
      }
      guard seen.isDisjoint(with: section.union(.within)) else { throw Self.unknown(key) }
      seen.insert(section)
      let fields = try element.requireDocument("o.diff")
      if section == .delete {
        deleted = fields
      } else {
        try appendUpdated(fields, depth: depth)
      }
    }
    if let deleted { try appendRemoved(deleted, depth: depth) }
  }

  /// The rest of an array level, after `a: true`.
  private mutating func decodeArray(_ rest: BSONElements, depth: Int) throws(OplogError) {
    var isFirst = true
    var walk = rest
    while let element = try walk.nextElement() {
      let key = element.key
      if isFirst, key.equals("l") {
        _ = try element.requireInteger("o.diff.l")
        try appendTruncated(element)
      } else if Self.endsInIndex(key), key.readByte(at: 0) == UInt8(ascii: "u") {
        try appendUpdated(element, field: key.withoutFirst, depth: depth, isIndex: true)
      } else if Self.endsInIndex(key), key.readByte(at: 0) == UInt8(ascii: "s") {
        try descend(
          into: key, try element.requireDocument("o.diff.s"), depth: depth, isIndex: true)
      } else {
        throw Self.unknown(key)
      }
      isFirst = false
    }
  }

  /// Decodes the level of the field `key` without its first byte, an `s`.
  private mutating func descend(
    into key: UnsafeRawBufferPointer, _ diff: BSONView, depth: Int, isIndex: Bool = false
  ) throws(OplogError) {
    let mark = enter(key.withoutFirst, depth: depth, isIndex: isIndex)
    try decodeLevel(diff, depth: depth &+ 1)
    leave(to: mark)
  }

  // MARK: Writing

  private mutating func start() {
    Self.clear(&document)
    Self.clear(&removed)
    Self.clear(&truncated)
    path.removeAll()  // never larger than an entry
    removedCount = 0
    truncatedCount = 0
    if disambiguatesPaths { ambiguous.start(keeping: Self.keptSize) }
  }

  private static func clear(_ writer: inout ByteWriter) {
    if writer.count > keptSize { writer = ByteWriter(capacity: initialSize) }
    writer.removeAll()
  }

  /// Appends a field to the path; `leave` removes it. (`depth` shows whether a dot is needed: the path is
  /// also empty after a field with an empty name.)
  private mutating func enter(
    _ field: UnsafeRawBufferPointer, depth: Int, isIndex: Bool = false
  ) -> Int {
    let mark = path.count
    if depth > 0 { path.append(UInt8(ascii: ".")) }
    if disambiguatesPaths { ambiguous.enter(field, at: path.count, isIndex: isIndex) }
    path.append(field)
    return mark
  }

  private mutating func leave(to mark: Int) {
    path.truncate(to: mark)
    if disambiguatesPaths { ambiguous.leave() }
  }

  private mutating func appendUpdated(_ fields: BSONView, depth: Int) throws(OplogError) {
    var walk = fields.elements()
    while let element = try walk.nextElement() {
      try appendUpdated(element, field: element.key, depth: depth)
    }
  }

  private mutating func appendUpdated(
    _ element: BSONElement, field: UnsafeRawBufferPointer, depth: Int, isIndex: Bool = false
  ) throws(OplogError) {
    if depth == 0, !disambiguatesPaths {
      document.append(element: element, key: field)
    } else {
      let mark = enter(field, depth: depth, isIndex: isIndex)
      document.append(element: element, key: path.bytes)
      if disambiguatesPaths { ambiguous.add(path.bytes) }
      leave(to: mark)
    }
    try checkSize()
  }

  private mutating func appendRemoved(_ fields: BSONView, depth: Int) throws(OplogError) {
    var walk = fields.elements()
    while let element = try walk.nextElement() {
      let mark = enter(element.key, depth: depth)
      removed.append(index: removedCount, string: path.bytes)
      removedCount &+= 1
      if disambiguatesPaths { ambiguous.add(path.bytes) }
      leave(to: mark)
      try checkSize()
    }
  }

  private mutating func appendTruncated(_ newSize: BSONElement) throws(OplogError) {
    let item = truncated.beginDocument(index: truncatedCount)
    truncated.append(key: "field", string: path.bytes)
    truncated.append(element: newSize, key: "newSize")
    truncated.endDocument(item)
    truncatedCount &+= 1
    if disambiguatesPaths { ambiguous.add(path.bytes) }
    try checkSize()
  }

  private mutating func finishRemoved() {
    let removedFields = document.beginArray(key: "removedFields")
    document.append(removed.bytes)
    document.endDocument(removedFields)
  }

  private func checkSize() throws(OplogError) {
    var size = document.count &+ removed.count &+ truncated.count
    if disambiguatesPaths { size &+= ambiguous.bytes.count }
    guard size <= limit else { throw OplogError(.updateTooLarge) }
  }

  // MARK: Keys

  /// Whether the key is one letter and a decimal number.
  private static func endsInIndex(_ key: UnsafeRawBufferPointer) -> Bool {
    guard key.count > 1 else { return false }
    var at = 1
    while at < key.count {
      let digit = key.readByte(at: at)
      guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return false }
      at &+= 1
    }
    return true
  }

  private static func unknown(_ key: UnsafeRawBufferPointer) -> OplogError {
    OplogError(.unknownDiffSection(String(decoding: key, as: UTF8.self)))
  }
}

extension UnsafeRawBufferPointer {
  /// A non-empty key without its first byte.
  fileprivate var withoutFirst: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: self[1...])
  }
}
