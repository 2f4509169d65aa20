/// A pattern as instructions for a matcher that goes back where it took a wrong turn: for patterns
/// that look around or refer back to what a group matched. Its steps are bounded.
struct PatternProgram: Sendable {
  enum Instruction: Sendable {
    case set(Int, isBackward: Bool)
    /// Tries the first, then the second.
    case split(Int, Int)
    case jump(Int)
    case save(Int)
    case assertion(PatternAutomaton.Assertion)
    /// Clears groups: each round of a repetition starts without them.
    case clear(Range<Int>)
    /// Remembers the place at the start of a round, in a slot behind the groups.
    case mark(Int)
    /// Fails if a round read nothing.
    case progress(Int)
    case backreference(Int, isBackward: Bool)
    /// The instructions up to `accept` follow; the rest starts at `next`.
    case look(next: Int, isNegated: Bool)
    case accept
  }

  /// A place to continue from, or (with `slot` >= 0) what a slot held.
  struct Frame {
    var slot: Int
    var instruction: Int
    var place: Int
  }

  private var instructions: [Instruction] = []
  private var sets: [CodePointSet] = []
  private var slots: Int

  private static let maximumInstructions = 200_000
  private static let maximumFrames = 1_000_000

  /// Nil if the pattern is too large.
  init?(_ node: PatternNode, groups: Int) {
    slots = 2 * (groups + 1)
    guard build(node, isBackward: false) else { return nil }
    instructions.append(.accept)
  }

  // MARK: Compiling

  private mutating func build(_ node: PatternNode, isBackward: Bool) -> Bool {
    guard instructions.count < Self.maximumInstructions else { return false }
    switch node {
    case .empty: break
    case .set(let set):
      sets.append(set)
      instructions.append(.set(sets.count - 1, isBackward: isBackward))
    case .sequence(let parts):
      for part in isBackward ? parts.reversed() : parts {
        guard build(part, isBackward: isBackward) else { return false }
      }
    case .alternatives(let parts):
      var jumps: [Int] = []
      for (index, part) in parts.enumerated() {
        guard index < parts.count - 1 else {
          guard build(part, isBackward: isBackward) else { return false }
          break
        }
        let split = instructions.count
        instructions.append(.split(split + 1, 0))
        guard build(part, isBackward: isBackward) else { return false }
        jumps.append(instructions.count)
        instructions.append(.jump(0))
        instructions[split] = .split(split + 1, instructions.count)
      }
      for jump in jumps { instructions[jump] = .jump(instructions.count) }
    case .repeated(let inner, let least, let most, let isLazy, let captures):
      return build(
        repeated: inner, least: least, most: most, isLazy: isLazy, captures: captures,
        isBackward: isBackward)
    case .capture(let inner, let number):
      instructions.append(.save(2 * number + (isBackward ? 1 : 0)))
      guard build(inner, isBackward: isBackward) else { return false }
      instructions.append(.save(2 * number + (isBackward ? 0 : 1)))
    case .start: instructions.append(.assertion(.start))
    case .end: instructions.append(.assertion(.end))
    case .wordBoundary(let isNegated):
      instructions.append(.assertion(isNegated ? .notWordBoundary : .wordBoundary))
    case .look(let inner, let isBehind, let isNegated, _):
      let look = instructions.count
      instructions.append(.look(next: 0, isNegated: isNegated))
      guard build(inner, isBackward: isBehind) else { return false }
      instructions.append(.accept)
      instructions[look] = .look(next: instructions.count, isNegated: isNegated)
    case .backreference(let number):
      instructions.append(.backreference(number, isBackward: isBackward))
    }
    return true
  }

  private mutating func build(
    repeated inner: PatternNode, least: Int, most: Int?, isLazy: Bool, captures: Range<Int>,
    isBackward: Bool
  ) -> Bool {
    for _ in 0..<least {
      if !captures.isEmpty { instructions.append(.clear(captures)) }
      guard build(inner, isBackward: isBackward) else { return false }
    }
    let slot = slots
    slots += 1
    func split(_ first: Int, _ second: Int) -> Instruction {
      isLazy ? .split(second, first) : .split(first, second)
    }
    if let most {
      var splits: [Int] = []
      for _ in 0..<max(0, most - least) {
        splits.append(instructions.count)
        instructions.append(.jump(0))
        guard buildRound(inner, slot: slot, captures: captures, isBackward: isBackward) else {
          return false
        }
      }
      for place in splits { instructions[place] = split(place + 1, instructions.count) }
      return true
    }
    let loop = instructions.count
    instructions.append(.jump(0))
    guard buildRound(inner, slot: slot, captures: captures, isBackward: isBackward) else {
      return false
    }
    instructions.append(.jump(loop))
    instructions[loop] = split(loop + 1, instructions.count)
    return true
  }

  private mutating func buildRound(
    _ inner: PatternNode, slot: Int, captures: Range<Int>, isBackward: Bool
  ) -> Bool {
    instructions.append(.mark(slot))
    if !captures.isEmpty { instructions.append(.clear(captures)) }
    guard build(inner, isBackward: isBackward) else { return false }
    instructions.append(.progress(slot))
    return instructions.count < Self.maximumInstructions
  }

  // MARK: Matching

  /// Whether the pattern is found in `text`, which must be UTF-8; nil when the steps are used up.
  func matches(
    _ text: UnsafeRawBufferPointer, steps: inout Int, scratch: inout PatternScratch
  ) -> Bool? {
    var from = 0
    while true {
      scratch.stack.removeAll(keepingCapacity: true)
      scratch.captures.removeAll(keepingCapacity: true)
      steps -= slots >> 3
      for _ in 0..<slots { scratch.captures.append(-1) }
      if run(from: 0, at: from, text, steps: &steps, scratch: &scratch) { return true }
      if steps < 0 { return nil }
      guard from < text.count else { return false }
      from += 1
      while from < text.count, text[from] & 0xC0 == 0x80 { from += 1 }
    }
  }

  /// Runs to `accept`. On success the groups keep what they matched, and the frames that undo it
  /// stay on the stack; frames to go back to don't: what matched is not tried again.
  private func run(
    from entry: Int, at start: Int, _ text: UnsafeRawBufferPointer, steps: inout Int,
    scratch: inout PatternScratch
  ) -> Bool {
    let base = scratch.stack.count
    var instruction = entry
    var place = start
    while true {
      steps -= 1
      guard steps >= 0, scratch.stack.count < Self.maximumFrames else {
        steps = -1
        return false
      }
      var isFine = true
      switch instructions[instruction] {
      case .set(let set, let isBackward):
        if let next = Self.read(text, at: place, isBackward: isBackward, sets[set]) {
          place = next
          instruction += 1
        } else {
          isFine = false
        }
      case .split(let first, let second):
        scratch.stack.append(Frame(slot: -1, instruction: second, place: place))
        instruction = first
      case .jump(let target): instruction = target
      case .save(let slot), .mark(let slot):
        set(slot, place, &scratch)
        instruction += 1
      case .clear(let groups):
        steps -= groups.count
        for group in groups {
          set(2 * group, -1, &scratch)
          set(2 * group + 1, -1, &scratch)
        }
        instruction += 1
      case .progress(let slot):
        isFine = scratch.captures[slot] != place
        instruction += 1
      case .assertion(let assertion):
        isFine = Self.holds(assertion, text, at: place)
        instruction += 1
      case .backreference(let group, let isBackward):
        steps -= matchedLength(of: group, scratch) >> 3
        if let next = refer(text, to: group, at: place, isBackward: isBackward, scratch) {
          place = next
          instruction += 1
        } else {
          isFine = false
        }
      case .look(let next, let isNegated):
        let before = scratch.stack.count
        let isFound = run(
          from: instruction + 1, at: place, text, steps: &steps, scratch: &scratch)
        if steps < 0 { return false }
        if isFound, isNegated { undo(to: before, &scratch) }
        isFine = isFound != isNegated
        instruction = next
      case .accept:
        keepUndoing(from: base, &scratch)
        return true
      }
      if isFine { continue }
      guard let frame = back(to: base, &scratch) else { return false }
      instruction = frame.instruction
      place = frame.place
    }
  }

  private func set(_ slot: Int, _ value: Int, _ scratch: inout PatternScratch) {
    scratch.stack.append(Frame(slot: slot, instruction: 0, place: scratch.captures[slot]))
    scratch.captures[slot] = value
  }

  /// The last place to go back to above `base`, with the slots as they were there.
  private func back(to base: Int, _ scratch: inout PatternScratch) -> Frame? {
    while scratch.stack.count > base {
      let frame = scratch.stack.removeLast()
      guard frame.slot >= 0 else { return frame }
      scratch.captures[frame.slot] = frame.place
    }
    return nil
  }

  private func undo(to base: Int, _ scratch: inout PatternScratch) {
    while scratch.stack.count > base {
      let frame = scratch.stack.removeLast()
      if frame.slot >= 0 { scratch.captures[frame.slot] = frame.place }
    }
  }

  private func keepUndoing(from base: Int, _ scratch: inout PatternScratch) {
    var kept = base
    for index in base..<scratch.stack.count where scratch.stack[index].slot >= 0 {
      scratch.stack[kept] = scratch.stack[index]
      kept += 1
    }
    scratch.stack.removeLast(scratch.stack.count - kept)
  }

  // MARK: Reading

  private static func read(
    _ text: UnsafeRawBufferPointer, at place: Int, isBackward: Bool, _ set: CodePointSet
  ) -> Int? {
    var start = place
    var end = place
    if isBackward {
      guard place > 0 else { return nil }
      start -= 1
      while start > 0, text[start] & 0xC0 == 0x80 { start -= 1 }
    } else {
      guard place < text.count else { return nil }
      end += 1
      while end < text.count, text[end] & 0xC0 == 0x80 { end += 1 }
    }
    guard set.contains(codePoint(text, start, end)) else { return nil }
    return isBackward ? start : end
  }

  private static func codePoint(_ text: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> UInt32
  {
    let lead = text[start]
    let length = end - start
    if length == 1 { return UInt32(lead) }
    var value = UInt32(lead) & (0x7F >> UInt32(min(length, 6)))
    for index in start + 1..<end { value = value << 6 | UInt32(text[index] & 0x3F) }
    return value
  }

  private static func holds(
    _ assertion: PatternAutomaton.Assertion, _ text: UnsafeRawBufferPointer, at place: Int
  ) -> Bool {
    PatternAutomaton.holds(
      assertion,
      PatternAutomaton.Context(
        isStart: place == 0, isEnd: place == text.count,
        isWordBefore: place > 0 && PatternAutomaton.isWord(text[place - 1]),
        isWordAfter: place < text.count && PatternAutomaton.isWord(text[place])))
  }

  private func matchedLength(of group: Int, _ scratch: borrowing PatternScratch) -> Int {
    max(0, scratch.captures[2 * group + 1] - scratch.captures[2 * group])
  }

  /// What a group matched, once more. A group that matched nothing is matched by nothing.
  private func refer(
    _ text: UnsafeRawBufferPointer, to group: Int, at place: Int, isBackward: Bool,
    _ scratch: borrowing PatternScratch
  ) -> Int? {
    let from = scratch.captures[2 * group]
    let to = scratch.captures[2 * group + 1]
    guard from >= 0, to >= from else { return place }
    let length = to - from
    let start = isBackward ? place - length : place
    guard start >= 0, start + length <= text.count else { return nil }
    for index in 0..<length where text[start + index] != text[from + index] { return nil }
    return isBackward ? start : start + length
  }
}
