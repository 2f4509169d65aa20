import BSON

/// Walks along the paths of conditions.
enum PathVisit {
  /// Goes through a document along a dotted path, as MongoDB's queries do, and shows `visit` each value
  /// found there; nil where a branch has none. Ends with true as soon as `visit` says so, and with
  /// false as soon as `spend` does, which gets the steps that were taken: one for each element.
  ///
  /// - An array on the way is entered at each document in it, and at the element that a number names.
  ///   (Arrays within arrays are entered by number only.)
  /// - An array at the path's end is shown element by element, then as a whole.
  /// - Keys that hold dots themselves, as an update's fields do, are found by them.
  static func visitValues(
    _ document: BSONView, _ path: UnsafeRawBufferPointer, spend: (Int) -> Bool,
    visit: (BSONElement?) -> Bool
  ) -> Bool {
    var walk = document.elements()
    while let element = try? walk.next() {
      guard spend(1 &+ element.searchCost) else { return false }
      let key = element.key
      if key.count == path.count, key.equals(path) { return visitLeaf(element, spend, visit) }
      guard key.count < path.count, path[key.count] == UInt8(ascii: "."),
        key.equals(UnsafeRawBufferPointer(rebasing: path[..<key.count]))
      else { continue }
      let rest = UnsafeRawBufferPointer(rebasing: path[(key.count &+ 1)...])
      guard let inner = element.document else { return visit(nil) }
      return element.type == .array
        ? visitArray(inner, rest, spend, visit)
        : visitValues(inner, rest, spend: spend, visit: visit)
    }
    return visit(nil)
  }

  private static func visitLeaf(
    _ element: BSONElement, _ spend: (Int) -> Bool, _ visit: (BSONElement?) -> Bool
  ) -> Bool {
    if element.type == .array, let array = element.document {
      var walk = array.elements()
      while let item = try? walk.next() {
        guard spend(1 &+ item.searchCost) else { return false }
        if visit(item) { return true }
      }
    }
    return visit(element)
  }

  /// `rest` is what follows the array in the path.
  private static func visitArray(
    _ array: BSONView, _ rest: UnsafeRawBufferPointer, _ spend: (Int) -> Bool,
    _ visit: (BSONElement?) -> Bool
  ) -> Bool {
    // The rest of the path is searched, however short the array is.
    guard spend(rest.count &>> 4) else { return false }
    let dot = rest.firstIndex(of: UInt8(ascii: "."))
    let head = UnsafeRawBufferPointer(rebasing: rest[..<(dot ?? rest.count)])
    let isIndex = !head.isEmpty && head.allSatisfy { (48...57).contains($0) }
    var walk = array.elements()
    while let item = try? walk.next() {
      guard spend(1 &+ item.searchCost) else { return false }
      if item.type == .document, let inner = item.document,
        visitValues(inner, rest, spend: spend, visit: visit)
      {
        return true
      }
      guard isIndex, item.key.equals(head) else { continue }
      guard let dot else {
        // Named by its number, an array is itself alone.
        if visit(item) { return true }
        continue
      }
      let further = UnsafeRawBufferPointer(rebasing: rest[(dot &+ 1)...])
      guard let inner = item.document else { continue }
      if item.type == .array
        ? visitArray(inner, further, spend, visit)
        : visitValues(inner, further, spend: spend, visit: visit)
      {
        return true
      }
    }
    return false
  }
}

extension BSONElement {
  /// Steps for finding out where it ends: a key is searched for its end, and compared, and a regular
  /// expression searched for the ends of its texts.
  var searchCost: Int {
    (type == .regex ? key.count &+ value.count : key.count) &>> 5
  }
}
