import BSON

// What is inside a redacted value: which fields it has, and how long it is, stays hidden as well. All that an
// update says of it is `"path of the value": "***"` in `updatedFields`, once. Fields whose names are such
// paths (`a.b.c`, and `a.b` is redacted) are shown like that in documents, since an update can't distinguish
// them from the inside of a document.
extension MappingPlan {
  /// `updatedFields`, with what else the update says of the insides of redacted values.
  ///
  /// - Parameter state: of `updateDescription`; `own` is that of `updatedFields`.
  func writeUpdatedFields(
    _ fields: BSONView, _ own: FilterState, of update: BSONView, _ state: FilterState,
    _ style: JSONStyle, into: inout ByteWriter
  ) throws(BSONError) {
    var hidden = HiddenPaths()
    var first = true
    into.append(UInt8(ascii: "{"))
    try writeElements(
      fields, own, isArray: false, style, depth: 2, &hidden, first: &first, into: &into)
    var members = update.elements()
    while let member = try members.next() {
      guard member.listsFields, let list = member.document else { continue }
      let listed = filters.step(state, key: member.key, inArray: false)
      if listed.exclude == FilterState.all || listed.redaction != nil { continue }
      var walk = list.elements()
      while let entry = try walk.next() {
        guard let name = try entry.listedField,
          let length = maskedLength(of: name, entry, below: own),
          !filters.step(own, key: name, inArray: false).isDropped
        else { continue }
        try write(masked: name, length, of: fields, own, &hidden, first: &first, into: &into)
      }
    }
    into.append(UInt8(ascii: "}"))
  }

  /// How much of the name may be shown, where an entry of `removedFields` or `truncatedArrays` is about the
  /// inside of a redacted value. The length of an array is.
  func maskedLength(
    of name: UnsafeRawBufferPointer, _ entry: BSONElement, below state: FilterState
  ) -> Int? {
    guard let length = filters.redactedLength(of: name, below: state),
      length < name.count || entry.document != nil
    else { return nil }
    return length
  }

  /// A path that continues behind a redacted value: the member for that value, unless it is there already.
  func write(
    masked path: UnsafeRawBufferPointer, _ length: Int, of view: BSONView, _ state: FilterState,
    _ hidden: inout HiddenPaths, first: inout Bool, into: inout ByteWriter
  ) throws(BSONError) {
    let shown = UnsafeRawBufferPointer(rebasing: path[..<length])
    guard try hidden.insert(shown, beside: view, state, filters) else { return }
    if !first { into.append(UInt8(ascii: ",")) }
    first = false
    try write(key: shown, below: state, into: &into)
    into.append(":\"***\"")
  }
}

extension FilterTrees {
  /// How much of a key with dots leads to a redacted value, if it continues behind that. `next`: where the key
  /// leads.
  @inline(__always)
  func cutLength(
    of key: UnsafeRawBufferPointer, _ next: FilterState, below state: FilterState, inArray: Bool
  ) -> Int? {
    guard next.redaction != nil, !inArray, let length = redactedLength(of: key, below: state),
      length < key.count
    else { return nil }
    return length
  }

  /// How much of a path with dots leads to a value that is redacted; nil where none is on its way.
  func redactedLength(of key: UnsafeRawBufferPointer, below state: FilterState) -> Int? {
    var change = state.change
    var start = 0
    while start <= key.count, change >= 0 {
      var end = start
      while end < key.count, key[end] != UInt8(ascii: ".") { end += 1 }
      let reached = follow(change, UnsafeRawBufferPointer(rebasing: key[start..<end]))
      if reached.isRedacted { return end }
      change = reached.state
      start = end + 1
    }
    return nil
  }
}

/// Paths of redacted values that have their member.
struct HiddenPaths {
  private var paths: Set<[UInt8]> = []
  private var hasKeys = false

  /// Whether the path is new, and no key of the document is it, which has a member of its own.
  mutating func insert(
    _ path: UnsafeRawBufferPointer, beside view: BSONView, _ state: FilterState,
    _ filters: borrowing FilterTrees
  ) throws(BSONError) -> Bool {
    if !hasKeys {
      hasKeys = true
      var walk = view.elements()
      while let element = try walk.next() {
        // Others can't be the path of a redacted value.
        let length = filters.redactedLength(of: element.key, below: state)
        if length == element.key.count { _ = insert(element.key) }
      }
    }
    return insert(path)
  }

  /// Whether it is new.
  mutating func insert(_ path: UnsafeRawBufferPointer) -> Bool {
    paths.insert(Array(path)).inserted
  }
}
