/// Values by time, the earliest first; of the same time, in the order in which they came.
struct TimeHeap<Value> {
  private struct Item {
    var time: Int64
    var order: UInt64
    var value: Value

    func isBefore(_ other: Item) -> Bool {
      time != other.time ? time < other.time : order < other.order
    }
  }

  private var items: [Item] = []
  private var nextOrder: UInt64 = 0

  var isEmpty: Bool { items.isEmpty }
  var count: Int { items.count }
  var first: Value? { items.first?.value }
  var firstTime: Int64? { items.first?.time }

  /// - Returns: a number by which the value can be found again.
  @discardableResult
  mutating func insert(_ value: Value, at time: Int64) -> UInt64 {
    nextOrder += 1
    items.append(Item(time: time, order: nextOrder, value: value))
    var child = items.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard items[child].isBefore(items[parent]) else { break }
      items.swapAt(child, parent)
      child = parent
    }
    return nextOrder
  }

  mutating func removeFirst() -> (time: Int64, value: Value)? {
    guard let first = items.first else { return nil }
    let last = items.removeLast()
    if !items.isEmpty {
      items[0] = last
      var parent = 0
      while true {
        var least = parent
        for child in [2 * parent + 1, 2 * parent + 2]
        where child < items.count && items[child].isBefore(items[least]) {
          least = child
        }
        if least == parent { break }
        items.swapAt(least, parent)
        parent = least
      }
    }
    return (first.time, first.value)
  }

  mutating func removeAll() { items.removeAll() }
}
