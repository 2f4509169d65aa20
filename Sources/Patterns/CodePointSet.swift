/// A set of code points as sorted ranges with gaps between them. Surrogates are never members:
/// text that is UTF-8 has none.
package struct CodePointSet: Sendable, Equatable {
  struct Range: Sendable, Equatable {
    var low: UInt32
    var high: UInt32
  }
  private(set) var ranges: [Range]

  static let maximum: UInt32 = 0x10FFFF
  static let all = CodePointSet([Range(low: 0, high: maximum)])
  package static let none = CodePointSet([])

  /// Ranges in any order, overlapping or not.
  init(_ given: [Range]) {
    var sorted: [Range] = []
    for range in given where range.low <= range.high {
      // Cut the surrogates out.
      if range.low < 0xD800 { sorted.append(Range(low: range.low, high: min(range.high, 0xD7FF))) }
      if range.high > 0xDFFF {
        sorted.append(Range(low: max(range.low, 0xE000), high: min(range.high, Self.maximum)))
      }
    }
    sorted.sort { $0.low < $1.low }
    ranges = []
    for range in sorted {
      if let last = ranges.last, range.low <= last.high + 1 {
        ranges[ranges.count - 1].high = max(last.high, range.high)
      } else {
        ranges.append(range)
      }
    }
  }

  package init(_ ranges: (UInt32, UInt32)...) { self.init(ranges.map { Range(low: $0, high: $1) }) }
  package init(_ point: UInt32) { self.init((point, point)) }

  package var isEmpty: Bool { ranges.isEmpty }
  var isASCII: Bool { (ranges.last?.high ?? 0) < 0x80 }

  package func union(_ other: CodePointSet) -> CodePointSet { CodePointSet(ranges + other.ranges) }

  var inverted: CodePointSet {
    var gaps: [Range] = []
    var next: UInt32 = 0
    for range in ranges {
      if range.low > next { gaps.append(Range(low: next, high: range.low - 1)) }
      next = range.high + 1
    }
    if next <= Self.maximum { gaps.append(Range(low: next, high: Self.maximum)) }
    return CodePointSet(gaps)
  }

  package func contains(_ point: UInt32) -> Bool {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].high < point { low = middle + 1 } else { high = middle }
    }
    return low < ranges.count && ranges[low].low <= point
  }
}

// What ECMA-262 calls these by a letter.
extension CodePointSet {
  static let digits = CodePointSet((0x30, 0x39))
  static let word = CodePointSet((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
  /// WhiteSpace and LineTerminator.
  static let space = CodePointSet(
    (0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A),
    (0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF))
  /// What a dot stands for: everything but line terminators.
  static let dot = CodePointSet((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)).inverted
}

/// A set of code points as an automaton over the bytes of their UTF-8: a graph without cycles whose
/// nodes are shared where they are alike.
struct ByteGraph: Sendable {
  struct Edge: Hashable, Sendable {
    var low: UInt8
    var high: UInt8
    /// The node that follows; `accept` after the last byte.
    var target: Int
  }
  static let accept = -1
  private(set) var nodes: [[Edge]] = []
  let start: Int

  init(_ set: CodePointSet) {
    var graph = Builder()
    start = graph.root(set)
    nodes = graph.nodes
  }

  private struct Builder {
    var nodes: [[Edge]] = []
    var known: [[Edge]: Int] = [:]

    mutating func node(_ edges: [Edge]) -> Int {
      if let index = known[edges] { return index }
      nodes.append(edges)
      known[edges] = nodes.count - 1
      return nodes.count - 1
    }

    mutating func root(_ set: CodePointSet) -> Int {
      var edges: [Edge] = []
      for range in set.ranges where range.low < 0x80 {
        edges.append(
          Edge(low: UInt8(range.low), high: UInt8(min(range.high, 0x7F)), target: ByteGraph.accept))
      }
      // Lead bytes of two, three and four bytes with what they start at and cover.
      add(0xC2...0xDF, mask: 0x1F, trailing: 1, set, to: &edges)
      add(0xE0...0xEF, mask: 0x0F, trailing: 2, set, to: &edges)
      add(0xF0...0xF4, mask: 0x07, trailing: 3, set, to: &edges)
      return node(edges)
    }

    private mutating func add(
      _ leads: ClosedRange<UInt8>, mask: UInt8, trailing: Int, _ set: CodePointSet,
      to edges: inout [Edge]
    ) {
      for lead in leads {
        let from = UInt32(lead & mask) << UInt32(6 * trailing)
        guard let target = below(from, trailing: trailing, set) else { continue }
        Self.append(Edge(low: lead, high: lead, target: target), to: &edges)
      }
    }

    /// The node for the trailing bytes of the code points from `from` on, or nil if none of them
    /// is in the set.
    private mutating func below(_ from: UInt32, trailing: Int, _ set: CodePointSet) -> Int? {
      if trailing == 0 { return set.contains(from) ? ByteGraph.accept : nil }
      let last = from + (1 << UInt32(6 * trailing)) - 1
      let least = Self.least(trailing, from)
      switch Self.coverage(of: max(from, least), last, by: set) {
      case .none: return nil
      case .full where from >= least: return full(trailing)
      default: break
      }
      let step: UInt32 = 1 << UInt32(6 * (trailing - 1))
      var edges: [Edge] = []
      for byte in 0..<64 as Range<UInt32> {
        let start = from + byte * step
        guard start <= CodePointSet.maximum else { break }
        // Overlong forms of a longer sequence stand for smaller code points.
        guard start + step > least else { continue }
        guard let target = below(start, trailing: trailing - 1, set) else { continue }
        let value = UInt8(0x80 + byte)
        Self.append(Edge(low: value, high: value, target: target), to: &edges)
      }
      return edges.isEmpty ? nil : node(edges)
    }

    /// The least code point whose encoding has the lead byte's length; only the first lead byte of
    /// a length has anything below it.
    private static func least(_ trailing: Int, _ from: UInt32) -> UInt32 {
      if from >= 0x10000 { return 0x10000 }
      if trailing == 3 { return 0x10000 }
      if trailing == 2 { return from == 0 ? 0x800 : 0 }
      return 0
    }

    private mutating func full(_ trailing: Int) -> Int {
      let target = trailing == 1 ? ByteGraph.accept : full(trailing - 1)
      return node([Edge(low: 0x80, high: 0xBF, target: target)])
    }

    private enum Coverage { case none, some, full }

    private static func coverage(
      of low: UInt32, _ high: UInt32, by set: CodePointSet
    ) -> Coverage {
      guard low <= high else { return .none }
      var from = 0
      var to = set.ranges.count
      while from < to {
        let middle = (from + to) / 2
        if set.ranges[middle].high < low { from = middle + 1 } else { to = middle }
      }
      guard from < set.ranges.count, set.ranges[from].low <= high else { return .none }
      return set.ranges[from].low <= low && set.ranges[from].high >= high ? .full : .some
    }

    private static func append(_ edge: Edge, to edges: inout [Edge]) {
      if let last = edges.last, last.target == edge.target, last.high + 1 == edge.low {
        edges[edges.count - 1].high = edge.high
      } else {
        edges.append(edge)
      }
    }
  }
}
