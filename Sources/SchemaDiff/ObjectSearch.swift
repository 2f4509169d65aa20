import JSON
import JSONSchema

/// Looks for an object: the members that have to be there, then as many more as are needed.
///
/// Names that no schema mentions fall into classes by the patterns that are found in them; all of a class are
/// alike.
struct ObjectSearch {
  private let solver: Solver
  private var least = 0
  private var most = Int.max
  /// What is wanted of the values of known names.
  private var named: [(name: Text, literal: Literal, isWriter: Bool)] = []
  private var required: [(name: Text, literal: Literal, isWriter: Bool)] = []
  private var others: [(keys: KeySet, literal: Literal, isWriter: Bool)] = []
  private var demands: [Demand] = []
  private var keyRules: [(literal: Literal, isWriter: Bool)] = []
  private var names: Set<Text> = []
  private var patterns: Set<Int> = []
  private let said: Set<Literal>
  private var absent: Set<Text> = []

  /// A member that has to be there, under any name of a set.
  private struct Demand {
    var keys: KeySet?
    var key: Goal
    var value: Goal
  }

  /// A name, or a class of names by the patterns found in them.
  private enum Key: Hashable {
    case name(Text)
    case other(found: [Int])
  }

  private struct Slot {
    var key: Key
    var keyGoal: Goal
    var valueGoal: Goal
  }

  private static let mostPatterns = 8
  private static let mostMembers = 5_000

  init(_ conjunction: Conjunction, _ solver: Solver) {
    self.solver = solver
    said = conjunction.said
    for (literal, isWriter) in conjunction.sorted { read(literal, isWriter) }
    if solver.assumesDeclared {
      let declared = solver.declared(said)
      // Whether it is enough isn't known of a part.
      if !declared.counts || !conjunction.isPart { absent = undeclared(declared) }
    }
  }

  private mutating func read(_ literal: Literal, _ isWriter: Bool) {
    switch solver.builder.table[literal] {
    case .members(let count):
      if literal.isPositive { least = max(least, count) } else { most = min(most, count - 1) }
    case .member(let name, let inner):
      names.insert(name)
      if literal.isPositive {
        required.append((name, inner, isWriter))
      } else {
        named.append((name, !inner, isWriter))
      }
    case .someMember(let keys, let inner):
      switch keys {
      case .matching(let pattern): patterns.insert(pattern)
      case .outside(let given, let found):
        names.formUnion(given)
        patterns.formUnion(found)
      }
      if literal.isPositive {
        var goal = Goal()
        goal.add(inner, isWriter)
        demands.append(Demand(keys: keys, key: Goal(), value: goal))
      } else {
        others.append((keys, !inner, isWriter))
      }
    case .someKey(let inner):
      if literal.isPositive {
        var goal = Goal()
        goal.add(inner, isWriter)
        demands.append(Demand(keys: nil, key: goal, value: Goal()))
      } else {
        keyRules.append((!inner, isWriter))
      }
    case .value(let text):
      // What isn't `{}` has a member.
      if solver.builder.table.values[text]?.objectValue?.isEmpty == true {
        least = max(least, 1)
      } else {
        excluded.append(text)
      }
    default: break
    }
  }

  /// Values that the object may not be equal to; read later, as one more alternative each.
  private var excluded: [Text] = []

  // MARK: Undeclared members

  /// The names that are taken not to be there: what the writer's schema doesn't declare. None where it says itself that
  /// there are members which it doesn't name.
  private func undeclared(_ declared: Declared) -> Set<Text> {
    guard !declared.describesOthers else { return [] }
    let others = names.filter { name in
      !declared.names.contains(name)
        && !declared.patterns.contains { solver.isFound($0, name.string) != false }
    }
    return others.isEmpty || demandsOthers(than: declared) ? [] : others
  }

  /// Whether more members have to be there than can be under declared names.
  private func demandsOthers(than declared: Declared) -> Bool {
    guard declared.counts, least > 0 else { return false }
    var doubts = Doubts()
    for pattern in declared.patterns {
      var goal = Goal()
      for other in others where other.keys == .matching(pattern) {
        goal.add(other.literal, other.isWriter)
      }
      if canBe(goal) { return false }
    }
    var possible = 0
    for name in declared.names.sorted() {
      if possible >= least { break }
      guard let slot = slot(.name(name), &doubts), canBe(slot.valueGoal) else { continue }
      possible += 1
    }
    return possible < least
  }

  private func canBe(_ goal: Goal) -> Bool {
    if case .none = solver.solve(goal) { return false }
    return true
  }

  // MARK: Searching

  var answer: Answer {
    var doubts = Doubts()
    guard patterns.count <= Self.mostPatterns else {
      return .undecided("more than \(Self.mostPatterns) patterns of names at one place")
    }
    if excluded.isEmpty { return members(&doubts) }
    return differing(self, excluded[...], &doubts)
  }

  /// What isn't equal to a value lacks a member, has another one, or has another value for one.
  private func differing(
    _ search: ObjectSearch, _ rest: ArraySlice<Text>, _ doubts: inout Doubts
  ) -> Answer {
    guard let text = rest.first else {
      var search = search
      search.excluded = []
      return search.members(&doubts)
    }
    guard case .object(let members)? = solver.builder.table.values[text] else {
      return differing(search, rest.dropFirst(), &doubts)
    }
    var ways: [ObjectSearch] = []
    let given = Set(members.map { Text($0.key) })
    var longer = search
    longer.names.formUnion(given)
    longer.demands.append(
      Demand(
        keys: .outside(names: given.sorted(), patterns: []), key: Goal(), value: Goal()))
    ways.append(longer)
    for member in members {
      let name = Text(member.key)
      var lacking = search
      lacking.names.insert(name)
      lacking.named.append((name, .never, false))
      ways.append(lacking)
      var other = search
      other.names.insert(name)
      other.required.append((name, !solver.builder.table.value(member.value), false))
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

  private func members(_ doubts: inout Doubts) -> Answer {
    guard least <= most else { return .none }
    var slots: [Slot] = []
    for name in Set(required.map(\.name)).sorted() {
      guard var slot = slot(.name(name), &doubts) else { return doubts.answer }
      for each in required where each.name == name {
        slot.valueGoal.add(each.literal, each.isWriter)
      }
      // Nothing else of the object makes it possible.
      switch solver.solve(slot.valueGoal) {
      case .none: return .none
      case .undecided(let reason): doubts.add(reason)
      case .found, .guess: break
      }
      slots.append(slot)
    }
    let classes = classes
    if let value = doubts.add(place(demands[...], slots, classes, &doubts)) {
      return .found(value)
    }
    return doubts.answer
  }

  /// All classes of names that aren't mentioned, by the patterns that may be found in them.
  private var classes: [Key] {
    let patterns = patterns.sorted()
    return (0..<(1 << patterns.count)).map { bits in
      .other(found: patterns.indices.filter { bits >> $0 & 1 == 1 }.map { patterns[$0] })
    }
  }

  /// A member of a name or class, with what is wanted of name and value; nil if there can't be one.
  private func slot(_ key: Key, _ doubts: inout Doubts) -> Slot? {
    var slot = Slot(key: key, keyGoal: Goal(), valueGoal: Goal())
    if !said.isEmpty {
      var name: Text?
      if case .name(let own) = key { name = own }
      slot.valueGoal.said = solver.said(said, ofMember: name) { has($0, key) }
    }
    switch key {
    case .name(let name):
      if absent.contains(name) { return nil }
      for each in named where each.name == name { slot.valueGoal.add(each.literal, each.isWriter) }
      for rule in keyRules {
        switch solver.holds(rule.literal, .string(name.string)) {
        case true?: break
        case false?: return nil
        case nil: doubts.add("whether a name is allowed")
        }
      }
    case .other(let found):
      slot.keyGoal.reader = [solver.builder.table.types(.string)]
      for pattern in patterns {
        let literal = solver.builder.table.literal(.pattern(pattern))
        slot.keyGoal.reader.insert(found.contains(pattern) ? literal : !literal)
      }
      for name in names {
        slot.keyGoal.reader.insert(!solver.builder.table.value(.string(name.string)))
      }
      for rule in keyRules { slot.keyGoal.add(rule.literal, rule.isWriter) }
    }
    for other in others {
      switch has(other.keys, key) {
      case true?: slot.valueGoal.add(other.literal, other.isWriter)
      case false?: break
      case nil: doubts.add("whether a pattern is found in a name")
      }
    }
    return slot
  }

  private func has(_ keys: KeySet, _ key: Key) -> Bool? {
    switch key {
    case .name(let name): return solver.contains(keys, name)
    case .other(let found):
      switch keys {
      case .matching(let pattern): return found.contains(pattern)
      case .outside(_, let patterns): return patterns.allSatisfy { !found.contains($0) }
      }
    }
  }

  /// Finds a place for each demand: a new member, or one that is there already.
  private func place(
    _ rest: ArraySlice<Demand>, _ slots: [Slot], _ classes: [Key], _ doubts: inout Doubts
  ) -> Answer {
    guard solver.takeStep() else { return .undecided("the search takes too long") }
    if slots.count > most { return .none }
    guard let demand = rest.first else { return fill(slots, classes, &doubts) }
    var local = Doubts()
    func attempt(_ slots: [Slot]) -> JSONValue? {
      local.add(place(rest.dropFirst(), slots, classes, &doubts))
    }
    let used = Set(slots.map(\.key))
    let free = names.subtracting(absent).sorted().map(Key.name).filter { !used.contains($0) }
    for key in free + classes {
      guard var slot = slot(key, &local) else { continue }
      guard add(demand, to: &slot, &local) else { continue }
      if let value = attempt(slots + [slot]) { return .found(value) }
    }
    for index in slots.indices {
      var merged = slots
      guard add(demand, to: &merged[index], &local) else { continue }
      if let value = attempt(merged) { return .found(value) }
    }
    return local.answer
  }

  /// False if the member can't be what is demanded.
  private func add(_ demand: Demand, to slot: inout Slot, _ doubts: inout Doubts) -> Bool {
    if let keys = demand.keys {
      switch has(keys, slot.key) {
      case true?: break
      case false?: return false
      case nil:
        doubts.add("whether a pattern is found in a name")
        return false
      }
    }
    if case .name(let name) = slot.key {
      for literal in demand.key.writer.union(demand.key.reader) {
        switch solver.holds(literal, .string(name.string)) {
        case true?: break
        case false?: return false
        case nil:
          doubts.add("whether a name is meant")
          return false
        }
      }
    } else {
      slot.keyGoal.add(demand.key)
    }
    slot.valueGoal.add(demand.value)
    return isPossible(slot, &doubts)
  }

  private func isPossible(_ slot: Slot, _ doubts: inout Doubts) -> Bool {
    if case .other = slot.key {
      switch solver.solve(slot.keyGoal) {
      case .none: return false
      case .undecided(let reason):
        doubts.add(reason)
        return false
      case .found, .guess: break
      }
    }
    switch solver.solve(slot.valueGoal) {
    case .none: return false
    case .undecided(let reason):
      doubts.add(reason)
      return false
    case .found, .guess: return true
    }
  }

  /// Adds members until there are enough, then makes them all.
  private func fill(_ given: [Slot], _ classes: [Key], _ doubts: inout Doubts) -> Answer {
    guard least <= Self.mostMembers else { return .undecided("objects of \(least) members") }
    var slots = given
    var local = Doubts()
    if slots.count < least {
      let used = Set(slots.map(\.key))
      for name in names.subtracting(absent).sorted() where !used.contains(.name(name)) {
        if slots.count >= least { break }
        if let slot = slot(.name(name), &local), isPossible(slot, &local) { slots.append(slot) }
      }
      var members = make(slots, &local)
      for key in classes {
        guard let slot = slot(key, &local), isPossible(slot, &local) else { continue }
        while members?.count ?? .max < least, let more = make([slot], &local, members ?? []) {
          members = more
        }
      }
      guard let members, members.count >= least else { return local.answer }
      return finished(members, local)
    }
    guard let members = make(slots, &local) else { return local.answer }
    return finished(members, local)
  }

  private func finished(_ members: [JSONValue.Member], _ doubts: Doubts) -> Answer {
    if case .guess(_, let reason) = doubts.answer { return .guess(.object(members), reason) }
    return .found(.object(members))
  }

  /// The members with names and values, after those that are there; nil if one isn't possible.
  private func make(
    _ slots: [Slot], _ doubts: inout Doubts, _ given: [JSONValue.Member] = []
  ) -> [JSONValue.Member]? {
    var members = given
    for slot in slots {
      let name: String
      switch slot.key {
      case .name(let known): name = known.string
      case .other:
        guard let other = otherName(slot.keyGoal, members, &doubts) else { return nil }
        name = other
      }
      guard let value = value(slot.valueGoal, &doubts) else { return nil }
      members.append(.init(name, value))
    }
    return members
  }

  /// A name that isn't taken: a simple one, or one that has to be looked for.
  private func otherName(
    _ goal: Goal, _ members: [JSONValue.Member], _ doubts: inout Doubts
  ) -> String? {
    let taken = Set(members.map { Text($0.key) })
    for number in 0...taken.count {
      let text = number == 0 ? "other" : "other\(number)"
      guard !taken.contains(Text(text)) else { continue }
      let literals = goal.writer.union(goal.reader)
      if solver.all(literals, { solver.holds($0, .string(text)) }) == true { return text }
      // The next ones are hardly different.
      break
    }
    var goal = goal
    for name in taken { goal.reader.insert(!solver.builder.table.value(.string(name.string))) }
    guard case .string(let text)? = value(goal, &doubts) else { return nil }
    return text
  }

  private func value(_ goal: Goal, _ doubts: inout Doubts) -> JSONValue? {
    switch solver.solve(goal) {
    case .found(let value): return value
    case .none: return nil
    case .undecided(let reason):
      doubts.add(reason)
      return nil
    case .guess(let value, let reason):
      _ = doubts.add(.guess(value, reason))
      return value
    }
  }
}
