import BSON

/// Fields that an update sets, and of which nothing is shown: `include` names something within them, and they
/// hold a plain value now. An insert of that document shows nothing of them, so what consumers know of them
/// is gone, and `removedFields` names them. Borrows the update's bytes, within the writing of one body.
struct VanishedFields {
  /// `updatedFields`, of which some vanish.
  var fields: BSONView
  var state: FilterState
}

extension MappingPlan {
  /// Whether `include` names something within an element that holds nothing.
  func vanishes(_ element: BSONElement, _ next: FilterState, below state: FilterState) -> Bool {
    !next.isDropped && leavesOut(element, next, below: state, inArray: false)
  }

  /// - Parameter state: of `updatedFields`.
  func vanished(
    of update: BSONView, _ state: FilterState
  ) throws(BSONError) -> VanishedFields? {
    // Redacted as a whole, it says that something has changed.
    guard state.include >= 0, !state.isDropped, state.redaction == nil,
      let fields = try update.first("updatedFields")?.document
    else { return nil }
    var walk = fields.elements()
    while let element = try walk.next() {
      let next = filters.step(state, key: element.key, inArray: false)
      if vanishes(element, next, below: state) {
        return VanishedFields(fields: fields, state: state)
      }
    }
    return nil
  }

  /// Into the list that is open.
  func writeNames(
    of vanished: VanishedFields, first: inout Bool, into: inout ByteWriter
  ) throws(BSONError) {
    var walk = vanished.fields.elements()
    while let element = try walk.next() {
      let next = filters.step(vanished.state, key: element.key, inArray: false)
      guard vanishes(element, next, below: vanished.state) else { continue }
      if !first { into.append(UInt8(ascii: ",")) }
      first = false
      try write(key: element.key, below: vanished.state, into: &into)
    }
  }

  /// The list, where the update has none.
  /// - Parameter state: of `updateDescription`.
  func writeRemoved(
    _ vanished: VanishedFields, _ state: FilterState, isFirst: Bool, into: inout ByteWriter
  ) throws(BSONError) {
    let own = filters.step(state, key: rawBytes("removedFields"), inArray: false)
    guard own.exclude != FilterState.all else { return }
    into.append(isFirst ? "\"removedFields\":[" : ",\"removedFields\":[")
    var first = true
    try writeNames(of: vanished, first: &first, into: &into)
    into.append(UInt8(ascii: "]"))
  }
}
