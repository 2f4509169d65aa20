import JSON
import JSONSchema

/// Looks for an array: a length, then items for it.
struct ArraySearch {
  private let solver: Solver
  private var least = 0
  private var most = Int.max
  /// What is wanted of the item at an index, and of all from an index on.
  private var at: [(index: Int, literal: Literal, isWriter: Bool)] = []
  private var from: [(index: Int, literal: Literal, isWriter: Bool)] = []
  private var demandsAt: [(index: Int, literal: Literal, isWriter: Bool)] = []
  private var demandsFrom: [(index: Int, literal: Literal, isWriter: Bool)] = []
  private var counts: [Count] = []
  private var isUnique = false
  private var hasTwins = false
  private var excluded: [Text] = []
  private let said: Set<Literal>

  /// So many items hold, for `contains`.
  private struct Count {
    var literal: Literal
    var isWriter: Bool
    var least = 0
    var most = Int.max
  }

  private static let longest = 5_000

  init(_ conjunction: Conjunction, _ solver: Solver) {
    self.solver = solver
    said = conjunction.said
    for (literal, isWriter) in conjunction.sorted { read(literal, isWriter) }
  }

  private mutating func read(_ literal: Literal, _ isWriter: Bool) {
    let isPositive = literal.isPositive
    switch solver.builder.table[literal] {
    case .items(let count):
      if isPositive { least = max(least, count) } else { most = min(most, count - 1) }
    case .unique:
      if isPositive { isUnique = true } else { hasTwins = true }
    case .itemAt(let index, let inner):
      if isPositive {
        demandsAt.append((index, inner, isWriter))
      } else {
        at.append((index, !inner, isWriter))
      }
    case .someItem(let index, let inner):
      if isPositive {
        demandsFrom.append((index, inner, isWriter))
      } else {
        from.append((index, !inner, isWriter))
      }
    case .count(let count, let inner):
      let place =
        counts.firstIndex { $0.literal == inner }
        ?? {
          counts.append(Count(literal: inner, isWriter: isWriter))
          return counts.count - 1
        }()
      if isPositive {
        counts[place].least = max(counts[place].least, count)
      } else {
        counts[place].most = min(counts[place].most, count - 1)
      }
    case .value(let text): excluded.append(text)
    default: break
    }
  }

  var answer: Answer {
    if excluded.isEmpty { return lengths }
    var doubts = Doubts()
    return differing(self, excluded[...], &doubts)
  }

  /// What isn't equal to a value is shorter, longer, or has another item.
  private func differing(
    _ search: ArraySearch, _ rest: ArraySlice<Text>, _ doubts: inout Doubts
  ) -> Answer {
    guard let text = rest.first else { return search.lengths }
    guard case .array(let items)? = solver.builder.table.values[text] else {
      return differing(search, rest.dropFirst(), &doubts)
    }
    var ways: [ArraySearch] = []
    if !items.isEmpty {
      var shorter = search
      shorter.most = min(search.most, items.count - 1)
      ways.append(shorter)
    }
    var longer = search
    longer.least = max(search.least, items.count + 1)
    ways.append(longer)
    for (index, item) in items.enumerated() {
      var other = search
      other.demandsAt.append((index, !solver.builder.table.value(item), false))
      ways.append(other)
    }
    for way in ways {
      guard solver.takeStep() else { return .undecided("the search takes too long") }
      if let value = doubts.add(differing(way, rest.dropFirst(), &doubts)) {
        return .found(value)
      }
    }
    return doubts.answer
  }

  // MARK: Lengths

  /// From here on, all items are alike for the schemas.
  private var tail: Int {
    ((at + demandsAt).map { $0.index + 1 } + (from + demandsFrom).map(\.index)).max() ?? 0
  }

  private var lengths: Answer {
    let needed = max(least, demandsAt.map { $0.index + 1 }.max() ?? 0)
    guard needed <= most else { return .none }
    guard needed <= Self.longest, tail <= Self.longest else {
      return .undecided("arrays of \(max(needed, tail)) items")
    }
    let demanded =
      demandsFrom.count + counts.reduce(0) { $0 + min($1.least, Self.longest) }
      + (hasTwins ? 2 : 0)
    guard demanded < Self.longest else { return .undecided("arrays of \(demanded) items") }
    var doubts = Doubts()
    // Longer ones only have more of what is in the tail.
    for length in needed...min(most, max(needed, tail) + demanded) {
      guard solver.takeStep() else { return .undecided("the search takes too long") }
      let goals = (0..<length).map(base)
      if let value = doubts.add(place(demandsFrom[...], goals, &doubts)) { return .found(value) }
    }
    return doubts.answer
  }

  /// What is wanted of the item at an index in any case.
  private func base(_ index: Int) -> Goal {
    var goal = Goal(said: solver.said(said, ofItem: index))
    for each in at + demandsAt where each.index == index { goal.add(each.literal, each.isWriter) }
    for each in from where each.index <= index { goal.add(each.literal, each.isWriter) }
    return goal
  }

  /// Finds an index for each demand.
  private func place(
    _ rest: ArraySlice<(index: Int, literal: Literal, isWriter: Bool)>, _ goals: [Goal],
    _ doubts: inout Doubts
  ) -> Answer {
    guard solver.takeStep() else { return .undecided("the search takes too long") }
    guard let demand = rest.first else { return twins(goals, &doubts) }
    var local = Doubts()
    guard demand.index < goals.count else { return .none }
    // Of equal places one is enough.
    var tried: Set<Goal> = []
    for index in demand.index..<goals.count {
      var next = goals
      next[index].add(demand.literal, demand.isWriter)
      guard index < tail || tried.insert(next[index]).inserted else { continue }
      if case .none = solver.solve(next[index]) { continue }
      if let value = local.add(place(rest.dropFirst(), next, &doubts)) { return .found(value) }
    }
    return local.answer
  }

  private func twins(_ goals: [Goal], _ doubts: inout Doubts) -> Answer {
    guard hasTwins else { return counted(goals, twins: nil) }
    guard !isUnique else { return .none }
    var local = Doubts()
    let last = min(goals.count, tail + 2 + demandsFrom.count)
    for one in 0..<max(0, last) {
      for other in (one + 1)..<max(one + 1, last) {
        var next = goals
        next[one].add(goals[other])
        next[other] = next[one]
        if case .none = solver.solve(next[one]) { continue }
        if let value = local.add(counted(next, twins: (one, other))) { return .found(value) }
      }
    }
    return local.answer
  }

  // MARK: contains

  private func counted(_ goals: [Goal], twins: (Int, Int)?) -> Answer {
    if counts.isEmpty { return values(goals, twins) }
    var doubts = Doubts()
    if let value = doubts.add(choose(0, goals, counts.map { _ in 0 }, twins)) {
      return .found(value)
    }
    return doubts.answer
  }

  /// Decides item after item for which of the counted literals it holds.
  private func choose(
    _ index: Int, _ goals: [Goal], _ held: [Int], _ twins: (Int, Int)?
  ) -> Answer {
    guard solver.takeStep() else { return .undecided("the search takes too long") }
    let left = goals.count - index
    for (count, held) in zip(counts, held)
    where held > count.most || held + left < count.least {
      return .none
    }
    guard index < goals.count else { return values(goals, twins) }
    var doubts = Doubts()
    // Fewest first: most arrays needn't contain much.
    for bits in 0..<(1 << counts.count) {
      var next = goals
      var nextHeld = held
      for (number, count) in counts.enumerated() {
        let holds = bits >> number & 1 == 1
        next[index].add(holds ? count.literal : !count.literal, count.isWriter)
        if holds { nextHeld[number] += 1 }
      }
      if let twins, twins.1 == index { next[index].add(next[twins.0]) }
      switch solver.solve(next[index]) {
      case .none: continue
      case .undecided(let reason):
        doubts.add(reason)
        continue
      case .found, .guess: break
      }
      if let value = doubts.add(choose(index + 1, next, nextHeld, twins)) { return .found(value) }
    }
    return doubts.answer
  }

  // MARK: Items

  private func values(_ goals: [Goal], _ twins: (Int, Int)?) -> Answer {
    if isUnique { return distinct(goals) }
    var items: [JSONValue] = []
    var doubts = Doubts()
    for goal in goals {
      switch solver.solve(goal) {
      case .found(let value): items.append(value)
      case .none: return .none
      case .undecided(let reason): return .undecided(reason)
      case .guess(let value, let reason):
        _ = doubts.add(.guess(value, reason))
        items.append(value)
      }
    }
    if let twins { items[twins.0] = items[twins.1] }
    if case .guess(_, let reason) = doubts.answer { return .guess(.array(items), reason) }
    return .found(.array(items))
  }

  /// Different items: for each place so many values that one is left whatever the others take, or all that there
  /// are; then a matching of places and values.
  private func distinct(_ goals: [Goal]) -> Answer {
    guard goals.count <= 200 else { return .undecided("\(goals.count) different items") }
    var known: [Goal: [JSONValue]] = [:]
    var doubt: String?
    for goal in goals where known[goal] == nil {
      var found: [JSONValue] = []
      var next = goal
      search: while found.count < goals.count {
        switch solver.solve(next) {
        case .found(let value):
          found.append(value)
          next.reader.insert(!solver.builder.table.value(value))
        case .none: break search
        case .undecided(let reason), .guess(_, let reason):
          doubt = reason
          break search
        }
      }
      known[goal] = found
    }
    // Augmenting paths.
    var owner: [Text: Int] = [:]
    var taken: [JSONValue?] = goals.map { _ in nil }
    func assign(_ place: Int, _ seen: inout Set<Text>) -> Bool {
      for value in known[goals[place]] ?? [] {
        let text = Text(Canonical.text(value))
        guard seen.insert(text).inserted else { continue }
        if let other = owner[text], !assign(other, &seen) { continue }
        owner[text] = place
        taken[place] = value
        return true
      }
      return false
    }
    for place in goals.indices {
      var seen: Set<Text> = []
      guard assign(place, &seen) else { return doubt.map { .undecided($0) } ?? .none }
    }
    return .found(.array(taken.compactMap { $0 }))
  }
}
