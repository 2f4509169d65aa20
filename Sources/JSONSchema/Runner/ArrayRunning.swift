import BSON

extension Runner {
  func checkArray(_ index: Int32, _ value: Bytes, _ frame: Int32) -> Bool {
    let plan = state.pointee.program.arrays + Int(index)
    let prefix = state.pointee.lists + Int(plan.pointee.firstPrefix)
    let prefixCount = Int(plan.pointee.prefixCount)
    var count = 0
    var contained = 0
    let isFine = forEach(value) { element in
      let at = count
      count &+= 1
      let node = at < prefixCount ? prefix[at] : plan.pointee.items
      if node >= 0 {
        guard check(node, element.type, element.value, -1) else { return false }
        if frame >= 0 { state.pointee.mark(at, in: frame) }
      }
      if plan.pointee.contains >= 0 {
        let marks = frame >= 0 && plan.pointee.containsEvaluates
        let isSettled =
          contained >= plan.pointee.leastContained && plan.pointee.mostContained == .max
        if marks || !isSettled, check(plan.pointee.contains, element.type, element.value, -1) {
          contained &+= 1
          if marks { state.pointee.mark(at, in: frame) }
        }
        return !hasFault
      }
      return true
    }
    guard isFine, count >= plan.pointee.least, count <= plan.pointee.most else { return false }
    if plan.pointee.contains >= 0 {
      guard contained >= plan.pointee.leastContained, contained <= plan.pointee.mostContained
      else { return false }
    }
    return !plan.pointee.isUnique || count < 2 || isUnique(value, count)
  }

  /// Up to this many items are compared pairwise.
  private static var fewItems: Int { 16 }

  /// Whether no two items are equal; else `equalItems` has them.
  func isUnique(_ value: Bytes, _ count: Int) -> Bool {
    if count <= Self.fewItems, let isUnique = isUniqueByLooking(value) { return isUnique }
    return isUniqueByHash(value, count)
  }

  /// Nil where an item is an object or an array, which may be large.
  private func isUniqueByLooking(_ value: Bytes) -> Bool? {
    var at = 0
    var isWide = false
    let isFine = forEach(value) { element in
      isWide = isStructure(element.type, element.value)
      if isWide { return false }
      var before = 0
      var isNew = true
      _ = forEach(value) { other in
        // Only those before it.
        if before == at { return false }
        isNew = !isEqual(other.type, other.value, element.type, element.value)
        if !isNew { state.pointee.equalItems = (before, at) }
        before &+= 1
        return isNew
      }
      at &+= 1
      return isNew && !hasFault
    }
    return isWide ? nil : isFine
  }

  /// Only values with the same hash can be equal.
  private func isUniqueByHash(_ value: Bytes, _ count: Int) -> Bool {
    guard charge(count &* SchemaBudget.itemCost) else { return false }
    // Taken out, as comparing may need the state.
    var items = ItemSet()
    swap(&items, &state.pointee.items)
    items.prepare(count)
    defer {
      items.shrink()
      swap(&items, &state.pointee.items)
    }
    return forEach(value) { element in
      var hash = StableHash()
      self.hash(element.type, element.value, &hash)
      guard !hasFault else { return false }
      let item = ItemSet.Item(
        hash: hash.value, type: element.type, value: element.value)
      let same = items.insert(item) { other in
        isEqual(other.type, other.value, item.type, item.value) || hasFault
      }
      guard let same else { return true }
      if !hasFault { state.pointee.equalItems = (same, items.count) }
      return false
    }
  }
}

/// The items of an array, found by their hashes.
///
/// Safety invariant: items point into the value that is being validated. They are compared only until the next
/// `prepare`, which removes them; what is left of them when the value is gone is never read.
struct ItemSet {
  struct Item {
    var hash: UInt64
    var type: BSONType
    var value: UnsafeRawBufferPointer
  }

  private var items: [Item] = []
  /// Indices of items, -1 where there is none.
  private var slots: [Int32] = []
  private var mask = 0

  var count: Int { items.count }

  /// Kept from one value to the next up to this many.
  private static let keptItems = 4_096

  mutating func prepare(_ count: Int) {
    var size = 64
    while size < 2 * count { size *= 2 }
    mask = size - 1
    items.removeAll(keepingCapacity: true)
    slots.removeAll(keepingCapacity: true)
    slots.append(contentsOf: repeatElement(-1, count: size))
  }

  mutating func shrink() {
    guard items.count > Self.keptItems else { return }
    items = []
    slots = []
  }

  /// Adds an item, or returns the equal one that is there already.
  mutating func insert(_ item: Item, _ isSame: (Item) -> Bool) -> Int? {
    var slot = Int(truncatingIfNeeded: item.hash) & mask
    while slots[slot] >= 0 {
      let other = Int(slots[slot])
      if items[other].hash == item.hash, isSame(items[other]) { return other }
      slot = (slot + 1) & mask
    }
    slots[slot] = Int32(items.count)
    items.append(item)
    return nil
  }
}
