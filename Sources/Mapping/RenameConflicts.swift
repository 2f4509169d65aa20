import BSON
import Oplog

// Names that `rename` would give twice.
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
      // Nearly always no key has a name that another one gets: then there is nothing to remember.
      var mayCollide = false
      for list in lists where !mayCollide {
        mayCollide = try anyName(list.view, isList: list.isList, isUpdate: isUpdate, state) {
          name in
          filters.mayCollide(key: name, at: state.change)
        }
      }
      guard mayCollide else { return }
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

  /// Whether one of the names that are written fulfils a condition.
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

/// Which names the fields of one document get, by the fields they are in.
private struct NamesGiven {
  /// By where the field is and the name it gets, the name it has.
  private var given: [[UInt8]: [UInt8]] = [:]
  private(set) var taken: String?

  /// The key may be a path with dots: each part of it is a field.
  mutating func give(
    _ key: UnsafeRawBufferPointer, at change: Int32, _ filters: borrowing FilterTrees
  ) {
    var change = change
    var way: [UInt8] = []
    for segment in key.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
      var name = ByteWriter(capacity: 64)
      change = filters.append(
        segment: UnsafeRawBufferPointer(rebasing: segment), at: change, to: &name)
      let written = Array(name.bytes)
      if let other = given[way + written], !other.elementsEqual(segment) {
        taken = String(decoding: written, as: UTF8.self)
      }
      given[way + written] = Array(segment)
      way += segment
      way.append(UInt8(ascii: "."))
    }
  }
}
