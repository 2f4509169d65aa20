/// The states of a walk through a document along a filter's paths, computed in advance.
///
/// Paths go through numbers, which may be indexes of arrays, and may name them as well (`urls.0`), so a
/// walk can be at several places of the paths at once. What is hidden at one of them is hidden.
struct FilterStates {
  enum Kind: Equatable {
    case paths(isInclude: Bool)
    case changes
  }

  struct Edge {
    var name: String
    var isLeaf: Bool
    /// Nil: no path continues.
    var target: Int?
    var redaction: Redaction?
    var newName: String?
  }

  struct State {
    var edges: [Edge] = []
    var afterIndex: Int?
    var hasRename = false
  }

  private(set) var states: [State] = []
  private let trie: PathTrie
  private let kind: Kind
  private var numbers: [[Int]: Int] = [:]
  private var open: [[Int]] = []

  /// Runs of numbers that paths name in many combinations could make states without end. Beyond this limit,
  /// a run of numbers leads to all places at once that any run leads to: more is hidden, never less.
  private static let most = 4096

  init(_ trie: PathTrie, _ kind: Kind) {
    self.trie = trie
    self.kind = kind
    _ = state([0])
    var next = 0
    while next < open.count {
      expand(next, open[next])
      next += 1
    }
  }

  private var isInclude: Bool { kind == .paths(isInclude: true) }

  /// The state of being at these places; nil if there are none.
  private mutating func state(_ places: [Int]) -> Int? {
    guard !places.isEmpty else { return nil }
    if let known = numbers[places] { return known }
    numbers[places] = states.count
    states.append(State())
    open.append(places)
    return states.count - 1
  }

  private mutating func expand(_ number: Int, _ places: [Int]) {
    var order: [String] = []
    var entered: [[UInt8]: [Int]] = [:]
    for place in places {
      for child in trie.nodes[place].children {
        let name = Array(child.name.utf8)
        if entered[name] == nil { order.append(child.name) }
        entered[name, default: []].append(child.node)
      }
    }
    let passing = isInclude ? places.filter { trie.nodes[$0].namesFields } : places
    for name in order {
      let reached = (entered[Array(name.utf8)] ?? []).sorted()
      let isLeaf = kind != .changes && reached.contains { trie.nodes[$0].isLeaf }
      var ahead = reached
      if FilterTrees.isIndex(name) { ahead = afterNumber(reached, passing: passing) }
      ahead = ahead.filter { !trie.nodes[$0].children.isEmpty }
      let target = isLeaf ? nil : state(ahead)
      states[number].edges.append(
        Edge(
          name: name, isLeaf: isLeaf, target: target,
          redaction: reached.compactMap { trie.nodes[$0].redaction }.first,
          newName: reached.compactMap { trie.nodes[$0].newName }.first))
    }
    // In this order: making states may move them.
    let after = state(passing)
    states[number].afterIndex = after
    states[number].hasRename = places.contains { trie.nodes[$0].hasRename }
  }

  private func afterNumber(_ reached: [Int], passing: [Int]) -> [Int] {
    guard states.count > Self.most else { return Set(reached + passing).sorted() }
    if isInclude { return reached }
    var all = Set(reached + passing)
    var ahead = Array(all)
    while let place = ahead.popLast() {
      for child in trie.nodes[place].children
      where FilterTrees.isIndex(child.name) && all.insert(child.node).inserted {
        ahead.append(child.node)
      }
    }
    return all.sorted()
  }
}
