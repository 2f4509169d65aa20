/// The ids that a stream knows, and the timer that makes it forget them.
///
/// The server forgets ids by a timer, so an id can count for some 50 ms longer than the window.
struct DuplicateWindow {
  private struct Entry {
    var sequence: UInt64
    var time: Int64
  }

  private var entries: [String: Entry] = [:]
  private var order: [String] = []
  private var head = 0
  private var timer: Int64?
  private(set) var window: Int64

  private static let shortestTimer: Int64 = 50_000_000

  init(window: Int64) { self.window = window }

  /// The sequence of the message with that id; 0 while it is replicated; nil where the id is not known.
  func sequence(of id: String) -> UInt64? { entries[id]?.sequence }

  var count: Int { entries.count }

  mutating func insert(_ id: String, _ sequence: UInt64, at time: Int64, now: Int64) {
    guard window > 0 else { return }
    if entries.updateValue(Entry(sequence: sequence, time: time), forKey: id) == nil {
      order.append(id)
    }
    if timer == nil { timer = now + window }
  }

  /// Forgets what the window has passed.
  mutating func advance(to now: Int64) {
    while let due = timer, due <= now { fire(at: due) }
  }

  mutating func change(window: Int64, now: Int64) {
    guard window != self.window else { return }
    self.window = window
    if timer != nil { timer = now }
    advance(to: now)
  }

  mutating func removeAll() {
    entries = [:]
    order = []
    head = 0
    timer = nil
  }

  private mutating func fire(at now: Int64) {
    var next = window
    while head < order.count {
      if let entry = entries[order[head]] {
        guard now - entry.time >= window else {
          next = window - (now - entry.time)
          break
        }
        entries[order[head]] = nil
      }
      head += 1
    }
    if entries.isEmpty {
      removeAll()
      return
    }
    if head > 512, head * 2 > order.count {
      order.removeFirst(head)
      head = 0
    }
    timer = now + max(next, Self.shortestTimer)
  }
}
