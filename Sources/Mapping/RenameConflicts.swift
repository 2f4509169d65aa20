import BSON
import Oplog

// Duplicate names because of `rename`.
extension MappingPlan {
  /// Throws where a key of the body gets the name of another key beside it: readers of JSON take one of
  /// the two values, and which one is theirs to choose.
  func checkNames(_ rule: RulePlan, event: borrowing ChangeEvent) throws(MappingError) {
    if let outbox = rule.outbox {
      let payload = try element(at: outbox.payload, event: event)
      guard let inner = payload.document else { return }
      let state = state(ofPayload: outbox, rule)
      return try check(inner, state, isArray: payload.type == .array, in: "payload", depth: 1)
    }
    if let key = event.documentKey {
      try check(key, rule.documentKey, isArray: false, in: "documentKey", depth: 1)
    }
    if let document = event.fullDocument {
      try check(document, rule.fullDocument, isArray: false, in: "fullDocument", depth: 1)
    }
    guard rule.envelope != .document else { return }
    if let document = event.fullDocumentBeforeChange {
      try check(
        document, rule.beforeChange, isArray: false, in: "fullDocumentBeforeChange", depth: 1)
    }
    if let update = event.updateDescription { try check(update: update, rule) }
  }

  private func check(
    _ view: BSONView, _ state: FilterState, isArray: Bool, in place: String, depth: Int
  ) throws(MappingError) {
    guard !state.isDropped, state.redaction == nil, filters.renames(below: state.change),
      depth <= BSONView.maximumDepth
    else { return }
    if !isArray { try checkNames([(view, false)], state, in: place) }
    var walk = view.elements()
    while let element = try next(&walk, in: place) {
      guard let inner = element.document else { continue }
      try check(
        inner, filters.step(state, key: element.key, inArray: isArray),
        isArray: element.type == .array, in: place, depth: depth + 1)
    }
  }

  /// What an update sets and what it removes are fields of one document.
  private func check(update: BSONView, _ rule: RulePlan) throws(MappingError) {
    let place = "updateDescription"
    let fields = filters.step(
      rule.updateDescription, key: rawBytes("updatedFields"), inArray: false)
    guard filters.renames(below: fields.change) else { return }
    var lists: [(BSONView, Bool)] = []
    var walk = update.elements()
    while let element = try next(&walk, in: place) {
      let isList = element.listsFields
      guard isList || element.key.equals("updatedFields"), let inner = element.document else {
        continue
      }
      lists.append((inner, isList))
      if !isList { try check(inner, fields, isArray: false, in: place, depth: 2) }
    }
    try checkNames(lists, isUpdate: true, fields, in: place)
  }

  private func next(
    _ walk: inout BSONElements, in place: String
  ) throws(MappingError) -> BSONElement? {
    do throws(BSONError) { return try walk.next() } catch { throw MappingError(error, in: place) }
  }

  // MARK: One document

  /// Keys of a document, or (true) a list that names its fields.
  private func checkNames(
    _ lists: [(view: BSONView, isList: Bool)], isUpdate: Bool = false, _ state: FilterState,
    in place: String
  ) throws(MappingError) {
    var names = NamesGiven()
    do throws(BSONError) {
      // Nearly always no two keys have names that may be one and the same: then there is nothing to
      // remember.
      var involved = 0
      for list in lists where involved < 2 {
        _ = try anyName(list.view, isList: list.isList, isUpdate: isUpdate, state) { name in
          if filters.mayCollide(key: name, at: state.change) { involved += 1 }
          return involved > 1
        }
      }
      guard involved > 1 else { return }
      for list in lists {
        _ = try anyName(list.view, isList: list.isList, isUpdate: isUpdate, state) { name in
          names.give(name, at: state.change, filters)
          return names.taken != nil
        }
      }
    } catch {
      throw MappingError(error, in: place)
    }
    guard let taken = names.taken else { return }
    throw MappingError(
      .nameTaken, "\(place): two fields would be named \(taken), as rename has it")
  }

  /// Whether one of the written names satisfies a condition.
  private func anyName(
    _ view: BSONView, isList: Bool, isUpdate: Bool, _ state: FilterState,
    _ condition: (UnsafeRawBufferPointer) -> Bool
  ) throws(BSONError) -> Bool {
    var walk = view.elements()
    while let element = try walk.next() {
      var name = element.key
      if isList {
        guard let listed = try element.listedField else { continue }
        name = listed
      }
      let next = filters.step(state, key: name, inArray: false)
      // What an update sets to a value of which nothing is shown, it removes.
      if isList || isUpdate
        ? next.isDropped : leavesOut(element, next, below: state, inArray: false)
      {
        continue
      }
      if let length = filters.cutLength(of: name, next, below: state, inArray: false) {
        name = UnsafeRawBufferPointer(rebasing: name[..<length])
      }
      if condition(name) { return true }
    }
    return false
  }
}

/// Which names the fields of one document get, by the fields they are in: of those fields that may get one
/// and the same.
///
/// Safety invariant: a value lives within one search for conflicts. Its pointers lead into the document
/// that is searched, which its caller keeps alive and unchanged until then, and into the names of the plan's
/// `filters`, which never change.
private struct NamesGiven {
  private struct Field {
    /// A path of keys up to the field's own, which begins at `start`.
    var path: UnsafeRawBufferPointer
    var start: Int
    var written: UnsafeRawBufferPointer

    var way: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: path[..<start]) }
    var key: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: path[start...]) }

    /// Of the place where the field is, and the name it gets.
    var hash: Int {
      // Seeded differently in each process: no document can be made of fields that have one.
      var hasher = Hasher()
      hasher.combine(bytes: way)
      hasher.combine(bytes: written)
      return hasher.finalize()
    }
  }
  /// By that hash.
  private var given: [Int: [Field]] = [:]
  private(set) var taken: String?

  /// The key may be a path with dots: each part of it is a field.
  mutating func give(
    _ key: UnsafeRawBufferPointer, at change: Int32, _ filters: borrowing FilterTrees
  ) {
    var change = change
    var start = 0
    while start <= key.count, change >= 0 {
      var end = start
      while end < key.count, key[end] != UInt8(ascii: ".") { end += 1 }
      let segment = UnsafeRawBufferPointer(rebasing: key[start..<end])
      let own = filters.edge(from: change, named: segment)
      if filters.mayCollide(segment, own: own, at: change) {
        note(
          Field(
            path: UnsafeRawBufferPointer(rebasing: key[..<end]), start: start,
            written: filters.written(segment, own: own)))
      }
      change = filters.target(of: own, segment, at: change)
      start = end + 1
    }
  }

  private mutating func note(_ field: Field) {
    let hash = field.hash
    guard let others = given[hash] else {
      given[hash] = [field]
      return
    }
    for other in others where other.written.equals(field.written) && other.way.equals(field.way) {
      if !other.key.equals(field.key) { taken = String(decoding: field.written, as: UTF8.self) }
      return
    }
    given[hash]?.append(field)
  }
}
