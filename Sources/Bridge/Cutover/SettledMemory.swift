package import JSON

/// What is remembered of a group once it has left the table: messages that no change explained, and events that the
/// bridge filled in or that no producer had published. Whoever is late is recognised by it, however long the server
/// knows ids. Bounded: the oldest is forgotten.
package struct SettledMemory: Sendable {
  package enum Fact: Sendable, Equatable {
    /// A message with no event so far.
    case phantom(sequence: UInt64)
    /// An event that the bridge has published.
    case filled(sequence: UInt64)
    /// An event that nobody had published.
    case missed(subject: String, digest: JSONDigest?)
  }

  private struct Key: Hashable, Sendable {
    var stream: Int
    var id: String
  }

  private var facts: [Key: (number: UInt64, fact: Fact)] = [:]
  /// In the order of noting; those that were taken or replaced are still among them.
  private var order: [(key: Key, number: UInt64)] = []
  private var head = 0
  private var next: UInt64 = 0
  private let most: Int

  package init(most: Int = 20_000) { self.most = most }

  package var count: Int { facts.count }

  package mutating func note(_ fact: Fact, stream: Int, id: String) {
    let key = Key(stream: stream, id: id)
    facts[key] = (next, fact)
    order.append((key, next))
    next += 1
    while facts.count > most, head < order.count { forgetOldest() }
    // What was taken is still in the order.
    while order.count - head > 2 * most { forgetOldest() }
    if head > 1024, head > order.count / 2 {
      order.removeFirst(head)
      head = 0
    }
  }

  private mutating func forgetOldest() {
    let oldest = order[head]
    head += 1
    if facts[oldest.key]?.number == oldest.number { facts[oldest.key] = nil }
  }

  package func fact(stream: Int, id: String) -> Fact? { facts[Key(stream: stream, id: id)]?.fact }

  package mutating func forget(stream: Int, id: String) {
    facts[Key(stream: stream, id: id)] = nil
  }
}
