/// A first-in, first-out queue in a ring that grows by doubling and then allocates nothing.
///
/// Inlinable, so that other modules' elements don't go through generic code.
@frozen
public struct FIFO<Element: BitwiseCopyable> {
  @usableFromInline var slots: [Element] = []
  @usableFromInline var head = 0
  @inlinable public var count: Int { held }
  @usableFromInline var held = 0

  @inlinable
  public init() {}

  @inlinable
  public var isEmpty: Bool { count == 0 }

  @inlinable
  public var first: Element? { count > 0 ? slots[head] : nil }
  @inlinable
  public var last: Element? { count > 0 ? slots[(head &+ count &- 1) % slots.count] : nil }

  /// All of them, oldest first; a copy, for cold paths.
  public var elements: [Element] { (0..<count).map { slots[(head + $0) % slots.count] } }

  @inlinable
  public mutating func append(_ element: Element) {
    if count == slots.count { grow(filling: element) }
    var at = head &+ count
    if at >= slots.count { at &-= slots.count }
    slots[at] = element
    held &+= 1
  }

  /// Drops the oldest; nothing happens when there is none.
  @inlinable
  public mutating func removeFirst() {
    guard count > 0 else { return }
    head &+= 1
    if head == slots.count { head = 0 }
    held &-= 1
  }

  @usableFromInline
  mutating func grow(filling: Element) {
    var larger: [Element] = []
    larger.reserveCapacity(max(64, slots.count * 2))
    for i in 0..<count { larger.append(slots[(head + i) % slots.count]) }
    while larger.count < max(64, slots.count * 2) { larger.append(filling) }
    slots = larger
    head = 0
  }
}
