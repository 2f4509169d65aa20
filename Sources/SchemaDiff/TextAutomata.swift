import Patterns

/// The automata of several patterns run side by side over all texts, shortest first: a text that some are found in
/// and others aren't, of a wanted length, and not one of some texts.
struct TextAutomata {
  struct Part {
    var table: PatternTable
    var isFound: Bool
  }

  enum Outcome {
    case found(String)
    case none
    case tooMany
  }

  private struct State: Hashable {
    var tables: [UInt16]
    /// Where the text is in the tree of excluded ones; -1: outside.
    var excluded: Int32
    /// Bytes of the character that are to come, and the bounds of the next one.
    var rest: UInt8
    var low: UInt8
    var high: UInt8
  }

  private struct Step {
    var state: State
    var previous: Int32
    var byte: UInt8
  }

  private let parts: [Part]
  private let least: Int
  private let most: Int
  private var tree: [(children: [UInt8: Int32], isEnd: Bool)] = [([:], false)]
  private var bytes: [UInt8] = []

  private static let mostSteps = 150_000

  init(_ parts: [Part], least: Int, most: Int, excluded: [Text]) {
    self.parts = parts
    self.least = least
    self.most = most
    for text in excluded { grow(text) }
    bytes = representatives(excluded)
  }

  private mutating func grow(_ text: Text) {
    var at = 0
    for byte in text.string.utf8 {
      if let next = tree[at].children[byte] {
        at = Int(next)
      } else {
        tree.append(([:], false))
        tree[at].children[byte] = Int32(tree.count - 1)
        at = tree.count - 1
      }
    }
    tree[at].isEnd = true
  }

  /// One byte of each class of bytes that no pattern tells apart, the most readable first.
  private func representatives(_ excluded: [Text]) -> [UInt8] {
    struct Key: Hashable {
      var classes: [UInt8]
      var role: Int
      var excluded: UInt8
    }
    let special = Set(excluded.flatMap { Array($0.string.utf8) })
    func rank(_ byte: Int) -> Int {
      switch byte {
      case 0x61...0x7A: 0
      case 0x30...0x39: 1
      case 0x41...0x5A: 2
      case 0x21...0x7E: 3
      case 0x20: 4
      case 0x80...: 5
      default: 6
      }
    }
    var seen: Set<Key> = []
    var found: [UInt8] = []
    for byte in (0...255).sorted(by: { (rank($0), $0) < (rank($1), $1) }).map(UInt8.init) {
      let role: Int
      switch byte {
      case 0..<0x80: role = 0
      case 0x80..<0x90: role = 1
      case 0x90..<0xA0: role = 2
      case 0xA0..<0xC0: role = 3
      case 0xC2..<0xE0: role = 4
      case 0xE0: role = 5
      case 0xED: role = 6
      case 0xE1..<0xF0: role = 7
      case 0xF0: role = 8
      case 0xF1..<0xF4: role = 9
      case 0xF4: role = 10
      default: continue
      }
      let key = Key(
        classes: parts.map { $0.table.byteClass(byte) }, role: role,
        excluded: special.contains(byte) ? byte : 0)
      if seen.insert(key).inserted { found.append(byte) }
    }
    return found
  }

  private func next(_ state: State, _ byte: UInt8) -> State? {
    var next = state
    if state.rest > 0 {
      guard state.low <= byte, byte <= state.high else { return nil }
      next.rest -= 1
      (next.low, next.high) = (0x80, 0xBF)
    } else {
      (next.low, next.high) = (0x80, 0xBF)
      switch byte {
      case 0..<0x80: next.rest = 0
      case 0xC2..<0xE0: next.rest = 1
      case 0xE0..<0xF0:
        next.rest = 2
        if byte == 0xE0 { next.low = 0xA0 }
        if byte == 0xED { next.high = 0x9F }
      case 0xF0...0xF4:
        next.rest = 3
        if byte == 0xF0 { next.low = 0x90 }
        if byte == 0xF4 { next.high = 0x8F }
      default: return nil
      }
    }
    for index in parts.indices {
      let after = parts[index].table.next(state.tables[index], byte)
      // Final states are 0, where nothing is found any more, and 1, where it is.
      if after <= PatternTable.lastFinalState, (after == 1) != parts[index].isFound { return nil }
      next.tables[index] = after
    }
    if state.excluded >= 0 { next.excluded = tree[Int(state.excluded)].children[byte] ?? -1 }
    return next
  }

  private func isWanted(_ state: State) -> Bool {
    guard state.rest == 0 else { return false }
    if state.excluded >= 0, tree[Int(state.excluded)].isEnd { return false }
    return parts.indices.allSatisfy {
      parts[$0].table.isFound(state.tables[$0]) == parts[$0].isFound
    }
  }

  /// Layer by layer: all states that texts of so many characters lead to.
  mutating func shortest() -> Outcome {
    let start = State(
      tables: parts.map(\.table.startState), excluded: 0, rest: 0, low: 0x80, high: 0xBF)
    for part in parts.indices where start.tables[part] <= PatternTable.lastFinalState {
      if (start.tables[part] == 1) != parts[part].isFound { return .none }
    }
    var steps = [Step(state: start, previous: -1, byte: 0)]
    var layer: [Int] = [0]
    var seen: Set<State> = [start]
    var length = 0
    while true {
      if length >= least {
        for index in layer where isWanted(steps[index].state) {
          return .found(text(index, steps))
        }
      }
      guard length < most, !layer.isEmpty else { return .none }
      // Only from the wanted length on is a state that was met before of no use.
      if length < least { seen = [] }
      var open = layer
      var after: [Int] = []
      var position = 0
      while position < open.count {
        let index = open[position]
        position += 1
        for byte in bytes {
          guard let state = next(steps[index].state, byte), seen.insert(state).inserted else {
            continue
          }
          guard steps.count < Self.mostSteps else { return .tooMany }
          steps.append(Step(state: state, previous: Int32(index), byte: byte))
          if state.rest == 0 { after.append(steps.count - 1) } else { open.append(steps.count - 1) }
        }
      }
      layer = after
      length += 1
    }
  }

  private func text(_ index: Int, _ steps: [Step]) -> String {
    var bytes: [UInt8] = []
    var at = index
    while steps[at].previous >= 0 {
      bytes.append(steps[at].byte)
      at = Int(steps[at].previous)
    }
    return String(decoding: bytes.reversed(), as: UTF8.self)
  }
}
