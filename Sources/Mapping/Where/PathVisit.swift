import BSON

/// Goes through a document along a dotted path, as MongoDB's queries do, and shows `visit` each value
/// found there; nil where a branch has none. Ends with true as soon as `visit` says so.
///
/// - An array on the way stands for each document in it, and for the element that a number names.
///   (Arrays within arrays are entered by number only.)
/// - An array at the path's end is shown element by element, then as a whole.
/// - Keys that hold dots themselves, as an update's fields do, are found by them.
func visitValues(
  _ document: BSONView, _ path: UnsafeRawBufferPointer, _ visit: (BSONElement?) -> Bool
) -> Bool {
  var walk = document.elements()
  while let element = try? walk.next() {
    let key = element.key
    if key.count == path.count, key.equals(path) { return visitLeaf(element, visit) }
    guard key.count < path.count, path[key.count] == UInt8(ascii: "."),
      key.equals(UnsafeRawBufferPointer(rebasing: path[..<key.count]))
    else { continue }
    let rest = UnsafeRawBufferPointer(rebasing: path[(key.count &+ 1)...])
    guard let inner = element.document else { return visit(nil) }
    return element.type == .array
      ? visitArray(inner, rest, visit) : visitValues(inner, rest, visit)
  }
  return visit(nil)
}

private func visitLeaf(_ element: BSONElement, _ visit: (BSONElement?) -> Bool) -> Bool {
  if element.type == .array, let array = element.document {
    var walk = array.elements()
    while let item = try? walk.next() { if visit(item) { return true } }
  }
  return visit(element)
}

/// `rest` is what follows the array in the path.
private func visitArray(
  _ array: BSONView, _ rest: UnsafeRawBufferPointer, _ visit: (BSONElement?) -> Bool
) -> Bool {
  let dot = rest.firstIndex(of: UInt8(ascii: "."))
  let head = UnsafeRawBufferPointer(rebasing: rest[..<(dot ?? rest.count)])
  let isIndex = !head.isEmpty && head.allSatisfy { (48...57).contains($0) }
  var walk = array.elements()
  while let item = try? walk.next() {
    if item.type == .document, let inner = item.document, visitValues(inner, rest, visit) {
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
      ? visitArray(inner, further, visit) : visitValues(inner, further, visit)
    {
      return true
    }
  }
  return false
}
