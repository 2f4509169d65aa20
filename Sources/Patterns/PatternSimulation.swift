extension PatternAutomaton {
  /// Follows all states at once, byte after byte: for patterns whose table would be too large. The
  /// time is the length of the text times the number of states at most, and bounded by `steps`.
  /// - Returns: whether the pattern is found, or nil when the steps are used up.
  func matches(
    _ text: UnsafeRawBufferPointer, steps: inout Int, scratch: inout PatternScratch
  ) -> Bool? {
    scratch.prepare(states: states.count)
    var isWordBefore = false
    scratch.current.removeAll(keepingCapacity: true)
    scratch.current.append(start)
    for index in 0...text.count {
      let isEnd = index == text.count
      let byte = isEnd ? 0 : text[index]
      let isWordAfter = !isEnd && Self.isWord(byte)
      let context = Context(
        isStart: index == 0, isEnd: isEnd, isWordBefore: isWordBefore, isWordAfter: isWordAfter)
      let isInside = !isEnd && byte & 0xC0 == 0x80
      if step(byte, isEnd: isEnd, context, steps: &steps, scratch: &scratch), !isInside {
        return true
      }
      if steps < 0 { return nil }
      isWordBefore = isWordAfter
      swap(&scratch.current, &scratch.next)
    }
    return false
  }

  /// From `scratch.current` to `scratch.next`; true if a match ends before the byte.
  private func step(
    _ byte: UInt8, isEnd: Bool, _ context: Context, steps: inout Int,
    scratch: inout PatternScratch
  ) -> Bool {
    let seen = scratch.newMark()
    let target = scratch.newMark()
    scratch.next.removeAll(keepingCapacity: true)
    scratch.next.append(start)
    scratch.targets[Int(start)] = target
    var isMatch = false
    while let state = scratch.current.popLast() {
      guard state >= 0, scratch.marks[Int(state)] != seen else { continue }
      scratch.marks[Int(state)] = seen
      steps -= 1
      if steps < 0 { return false }
      switch states[Int(state)] {
      case .bytes(let first, let count):
        if isEnd { continue }
        steps -= Int(count) >> 3
        for index in Int(first)..<Int(first + count) {
          let edge = edges[index]
          guard edge.low <= byte else { break }
          if byte <= edge.high {
            if scratch.targets[Int(edge.target)] != target {
              scratch.targets[Int(edge.target)] = target
              scratch.next.append(edge.target)
            }
            break
          }
        }
      case .split(let first, let second):
        scratch.current.append(second)
        scratch.current.append(first)
      case .assertion(let assertion, let next):
        if Self.holds(assertion, context) { scratch.current.append(next) }
      case .match: isMatch = true
      }
    }
    return isMatch
  }
}

/// Memory that matching needs beyond a table: kept from one match to the next.
package struct PatternScratch {
  var current: [Int32] = []
  var next: [Int32] = []
  var marks: [UInt32] = []
  var targets: [UInt32] = []
  private var mark: UInt32 = 0

  package init() {}

  /// For the backtracking matcher: places to go back to, and groups.
  var stack: [PatternProgram.Frame] = []
  var captures: [Int] = []

  mutating func prepare(states: Int) {
    if marks.count < states {
      marks = Array(repeating: 0, count: states)
      targets = marks
      mark = 0
    }
  }

  /// Gives back what only a long match needed.
  package mutating func shrink() {
    if stack.capacity > 16_384 { stack = [] }
  }

  mutating func newMark() -> UInt32 {
    if mark == .max {
      for index in marks.indices {
        marks[index] = 0
        targets[index] = 0
      }
      mark = 0
    }
    mark += 1
    return mark
  }
}
