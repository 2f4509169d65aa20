/// A nondeterministic automaton over the bytes of UTF-8 that finds a pattern anywhere in a text.
///
/// States are numbered; what follows a state without reading a byte is given by `closure`.
struct PatternAutomaton: Sendable {
  struct Edge: Sendable, Equatable {
    var low: UInt8
    var high: UInt8
    var target: Int32
  }

  enum State: Sendable {
    /// Reads one byte.
    case bytes(first: Int32, count: Int32)
    /// Continues at both; `second` is -1 if there is only one.
    case split(first: Int32, second: Int32)
    case assertion(Assertion, Int32)
    case match
  }

  enum Assertion: UInt8, Sendable { case start, end, wordBoundary, notWordBoundary }

  private(set) var states: [State] = []
  private(set) var edges: [Edge] = []
  private(set) var start: Int32 = 0
  private(set) var usesWords = false
  /// Graphs of the sets met so far: repetitions meet them again and again. Emptied in the end.
  private var graphs: [(set: CodePointSet, graph: ByteGraph)] = []

  /// More states are left to the backtracking matcher.
  private static let maximumStates = 20_000

  /// Nil for a pattern that needs more than an automaton has: looking around, back references,
  /// or too many states.
  init?(_ node: PatternNode) {
    states.append(.match)
    guard let start = build(node, then: 0) else { return nil }
    self.start = start
    graphs = []
  }

  private mutating func add(_ state: State) -> Int32? {
    guard states.count < Self.maximumStates else { return nil }
    states.append(state)
    return Int32(states.count - 1)
  }

  private mutating func build(_ node: PatternNode, then next: Int32) -> Int32? {
    switch node {
    case .empty: return next
    case .set(let set): return build(set, then: next)
    case .capture(let inner, _): return build(inner, then: next)
    case .sequence(let parts):
      var entry = next
      for part in parts.reversed() {
        guard let before = build(part, then: entry) else { return nil }
        entry = before
      }
      return entry
    case .alternatives(let parts):
      var entry: Int32?
      for part in parts.reversed() {
        guard let branch = build(part, then: next) else { return nil }
        guard let other = entry else {
          entry = branch
          continue
        }
        guard let split = add(.split(first: branch, second: other)) else { return nil }
        entry = split
      }
      return entry
    case .repeated(let inner, let least, let most, _, _):
      return build(repeated: inner, least: least, most: most, then: next)
    case .start:
      return add(.assertion(.start, next))
    case .end:
      return add(.assertion(.end, next))
    case .wordBoundary(let isNegated):
      usesWords = true
      return add(.assertion(isNegated ? .notWordBoundary : .wordBoundary, next))
    case .look, .backreference: return nil
    }
  }

  private mutating func build(
    repeated inner: PatternNode, least: Int, most: Int?, then next: Int32
  ) -> Int32? {
    var entry = next
    if let most {
      // As many optional ones as there may be more, each leading on to the next.
      for _ in 0..<max(0, most - least) {
        guard let body = build(inner, then: entry),
          let split = add(.split(first: body, second: next))
        else { return nil }
        entry = split
      }
    } else {
      guard let loop = add(.split(first: -1, second: next)) else { return nil }
      guard let body = build(inner, then: loop) else { return nil }
      states[Int(loop)] = .split(first: body, second: next)
      entry = loop
    }
    for _ in 0..<least {
      guard let body = build(inner, then: entry) else { return nil }
      entry = body
    }
    return entry
  }

  /// One character: the graph of its bytes, with `next` where it accepts.
  private mutating func build(_ set: CodePointSet, then next: Int32) -> Int32? {
    let graph: ByteGraph
    if let known = graphs.first(where: { $0.set == set }) {
      graph = known.graph
    } else {
      graph = ByteGraph(set)
      graphs.append((set, graph))
    }
    // A graph's nodes are in order: targets come before what leads to them.
    var numbers: [Int32] = []
    for node in graph.nodes {
      let first = Int32(edges.count)
      for edge in node {
        let target = edge.target == ByteGraph.accept ? next : numbers[edge.target]
        edges.append(Edge(low: edge.low, high: edge.high, target: target))
      }
      guard let state = add(.bytes(first: first, count: Int32(node.count))) else { return nil }
      numbers.append(state)
    }
    return numbers[graph.start]
  }

  // MARK: Stepping

  /// What is around a position in the text.
  struct Context: Hashable {
    var isStart: Bool
    var isEnd: Bool
    var isWordBefore: Bool
    var isWordAfter: Bool
  }

  @inline(__always)
  static func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x5F, 0x61...0x7A: true
    default: false
    }
  }

  @inline(__always)
  static func holds(_ assertion: Assertion, _ context: Context) -> Bool {
    switch assertion {
    case .start: context.isStart
    case .end: context.isEnd
    case .wordBoundary: context.isWordBefore != context.isWordAfter
    case .notWordBoundary: context.isWordBefore == context.isWordAfter
    }
  }
}
