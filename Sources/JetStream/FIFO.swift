/// A first-in, first-out queue in a ring that grows by doubling and then allocates nothing.
public struct FIFO<Element: BitwiseCopyable> {
  private var slots: [Element] = []
  private var head = 0
  public private(set) var count = 0

  public init() {}

  public var isEmpty: Bool { count == 0 }

  public var first: Element? { count > 0 ? slots[head] : nil }
  public var last: Element? { count > 0 ? slots[(head &+ count &- 1) % slots.count] : nil }

  /// All of them, oldest first; a copy, for cold paths.
  public var elements: [Element] { (0..<count).map { slots[(head + $0) % slots.count] } }

  public mutating func append(_ element: Element) {
    if count == slots.count { grow(filling: element) }
    var at = head &+ count
    if at >= slots.count { at &-= slots.count }
    slots[at] = element
    count &+= 1
  }

  /// Drops the oldest; nothing happens when there is none.
  public mutating func removeFirst() {
    guard count > 0 else { return }
    head &+= 1
    if head == slots.count { head = 0 }
    count &-= 1
  }

  private mutating func grow(filling: Element) {
    var larger: [Element] = []
    larger.reserveCapacity(max(64, slots.count * 2))
    for i in 0..<count { larger.append(slots[(head + i) % slots.count]) }
    while larger.count < max(64, slots.count * 2) { larger.append(filling) }
    slots = larger
    head = 0
  }
}
