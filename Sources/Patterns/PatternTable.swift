/// A deterministic automaton as one table: a look-up for each byte of the text.
///
/// Safety invariant: the table owns its memory and never changes, so that it may be shared. A
/// state's row has `1 << shift` entries, `classes` maps every byte to less than that, and all
/// entries are states.
package final class PatternTable: @unchecked Sendable {
  /// States 0 and 1 are final: nothing can match any more, something has.
  static let dead: UInt16 = 0
  static let found: UInt16 = 1

  package let view: View

  /// The table's memory: valid only while the table is kept alive. Not Sendable.
  package struct View {
    @usableFromInline let classes: UnsafeMutablePointer<UInt8>
    @usableFromInline let rows: UnsafeMutablePointer<UInt16>
    @usableFromInline let acceptsAtEnd: UnsafeMutablePointer<Bool>
    @usableFromInline let shift: Int
    @usableFromInline let start: UInt16
    /// Where the whole text must be so many characters out of one set within ASCII, for each byte
    /// whether it is one of them.
    @usableFromInline let members: UnsafeMutablePointer<UInt8>?
    @usableFromInline let least: Int
    @usableFromInline let most: Int

    /// Whether the pattern is found in `text`, which must be UTF-8.
    @inlinable @inline(__always)
    package func matches(_ text: UnsafeRawBufferPointer) -> Bool {
      if let members {
        guard text.count >= least, text.count <= most else { return false }
        var all: UInt8 = 1
        for byte in text { all &= members[Int(byte)] }
        return all == 1
      }
      var state = start
      if state <= 1 { return state == 1 }
      for byte in text {
        let next = rows[Int(state) &<< shift | Int(classes[Int(byte)])]
        // Staying is guessed right mostly, and then the next look-up needn't wait for this one.
        if next == state { continue }
        state = next
        if state <= 1 { return state == 1 }
      }
      return acceptsAtEnd[Int(state)]
    }

    /// Whether every text of a form is matched, or none is: the form says which bytes may stand at
    /// each place. Nil if it depends.
    package func verdict(_ form: [[UInt8]]) -> Bool? {
      var states: Set<UInt16> = [start]
      for place in form {
        var next: Set<UInt16> = []
        for state in states {
          if state <= 1 {
            next.insert(state)
            continue
          }
          for byte in place {
            next.insert(rows[Int(state) &<< shift | Int(classes[Int(byte)])])
          }
        }
        states = next
      }
      let verdicts = Set(states.map { $0 <= 1 ? $0 == 1 : acceptsAtEnd[Int($0)] })
      return verdicts.count == 1 ? verdicts.first : nil
    }
  }

  private static let maximumEntries = 1 << 16
  private static let maximumStates = 4_000
  /// Bounds the time that is spent before giving up on the table.
  private static let maximumWork = 1_000_000

  deinit {
    view.classes.deallocate()
    view.rows.deallocate()
    view.acceptsAtEnd.deallocate()
    view.members?.deallocate()
  }

  /// Nil if the table would be too large.
  init?(_ automaton: PatternAutomaton, _ node: PatternNode) {
    var builder = Builder(automaton)
    guard builder.build() else { return nil }
    let run = node.wholeRun
    let members = run.map { run in (0...255).map { run.set.contains($0) ? 1 : 0 as UInt8 } }
    view = View(
      classes: Self.copied(builder.classes), rows: Self.copied(builder.rows),
      acceptsAtEnd: Self.copied(builder.acceptsAtEnd), shift: builder.shift, start: builder.start,
      members: members.map(Self.copied), least: run?.least ?? 0, most: run?.most ?? 0)
  }

  private static func copied<Element>(_ array: [Element]) -> UnsafeMutablePointer<Element> {
    let pointer = UnsafeMutablePointer<Element>.allocate(capacity: max(array.count, 1))
    array.withUnsafeBufferPointer { buffer in
      if let base = buffer.baseAddress { pointer.initialize(from: base, count: buffer.count) }
    }
    return pointer
  }

  /// A state while the table is built: the automaton's states before what they lead to without a
  /// byte, which may depend on the byte that follows.
  private struct Key: Hashable {
    var states: [Int32]
    var isStart: Bool
    var isWordBefore: Bool
  }

  private struct Builder {
    let automaton: PatternAutomaton
    var classes = [UInt8](repeating: 0, count: 256)
    /// A byte of each class.
    var samples: [UInt8] = []
    var rows: [UInt16] = []
    var acceptsAtEnd: [Bool] = []
    var shift = 0
    var start: UInt16 = 0
    private var numbers: [Key: UInt16] = [:]
    private var keys: [Key] = []
    private var work = 0
    private var marks: [UInt32]
    private var mark: UInt32 = 0

    init(_ automaton: PatternAutomaton) {
      self.automaton = automaton
      marks = Array(repeating: 0, count: automaton.states.count)
      var isBoundary = [Bool](repeating: false, count: 257)
      for edge in automaton.edges {
        isBoundary[Int(edge.low)] = true
        isBoundary[Int(edge.high) + 1] = true
      }
      if automaton.usesWords {
        for byte in 1..<256
        where
          PatternAutomaton.isWord(UInt8(byte)) != PatternAutomaton.isWord(UInt8(byte - 1))
        { isBoundary[byte] = true }
        // Inside a character nothing is asserted.
        isBoundary[0x80] = true
        isBoundary[0xC0] = true
      }
      var number = -1
      for byte in 0..<256 {
        if byte == 0 || isBoundary[byte] {
          number += 1
          samples.append(UInt8(byte))
        }
        classes[byte] = UInt8(number)
      }
      while 1 << shift < samples.count { shift += 1 }
    }

    mutating func build() -> Bool {
      // The two final states.
      rows = Array(repeating: PatternTable.dead, count: 1 << shift)
      rows += Array(repeating: PatternTable.found, count: 1 << shift)
      acceptsAtEnd = [false, true]
      let none = Key(states: [], isStart: false, isWordBefore: false)
      keys = [none, none]
      guard
        let first = number(
          Key(states: [automaton.start], isStart: true, isWordBefore: false))
      else { return false }
      start = first
      var next = 2
      while next < keys.count {
        guard expand(next) else { return false }
        next += 1
      }
      return true
    }

    private mutating func number(_ key: Key) -> UInt16? {
      if let known = numbers[key] { return known }
      // Without assertions the end doesn't matter, and a match is found on the way.
      var isFound = false
      var isAlive = false
      for isWordAfter in automaton.usesWords ? [false, true] : [false] {
        let closure = closure(
          key, isEnd: false, isWordAfter: isWordAfter, isMatch: &isFound)
        if !closure.isEmpty || isFound { isAlive = true }
        if isFound, !automaton.usesWords {
          numbers[key] = PatternTable.found
          return PatternTable.found
        }
      }
      var isFoundAtEnd = false
      _ = closure(key, isEnd: true, isWordAfter: false, isMatch: &isFoundAtEnd)
      if !isAlive, !isFoundAtEnd {
        numbers[key] = PatternTable.dead
        return PatternTable.dead
      }
      guard keys.count < PatternTable.maximumStates,
        (keys.count + 1) << shift <= PatternTable.maximumEntries, work < PatternTable.maximumWork
      else { return nil }
      let number = UInt16(keys.count)
      numbers[key] = number
      keys.append(key)
      acceptsAtEnd.append(isFoundAtEnd)
      return number
    }

    private mutating func expand(_ state: Int) -> Bool {
      let key = keys[state]
      var closures: [[Int32]] = []
      var isMatch: [Bool] = []
      for isWordAfter in automaton.usesWords ? [false, true] : [false] {
        var found = false
        closures.append(closure(key, isEnd: false, isWordAfter: isWordAfter, isMatch: &found))
        isMatch.append(found)
      }
      var row = [UInt16](repeating: PatternTable.dead, count: 1 << shift)
      for (index, sample) in samples.enumerated() {
        let isWord = automaton.usesWords && PatternAutomaton.isWord(sample)
        let which = isWord ? 1 : 0
        if isMatch[which], sample & 0xC0 != 0x80 {
          row[index] = PatternTable.found
          continue
        }
        mark += 1
        // A match may start at every place.
        var targets: [Int32] = [automaton.start]
        marks[Int(automaton.start)] = mark
        for from in closures[which] {
          guard case .bytes(let first, let count) = automaton.states[Int(from)] else { continue }
          work += Int(count)
          for edge in automaton.edges[Int(first)..<Int(first + count)]
          where edge.low <= sample && sample <= edge.high && marks[Int(edge.target)] != mark {
            marks[Int(edge.target)] = mark
            targets.append(edge.target)
          }
        }
        targets.sort()
        guard
          let number = number(Key(states: targets, isStart: false, isWordBefore: isWord))
        else { return false }
        row[index] = number
      }
      rows += row
      return true
    }

    /// The states that read a byte among those that `key` leads to, and whether one matches.
    private mutating func closure(
      _ key: Key, isEnd: Bool, isWordAfter: Bool, isMatch: inout Bool
    ) -> [Int32] {
      let context = PatternAutomaton.Context(
        isStart: key.isStart, isEnd: isEnd, isWordBefore: key.isWordBefore,
        isWordAfter: isWordAfter)
      mark += 1
      var open = key.states
      var reading: [Int32] = []
      while let state = open.popLast() {
        guard state >= 0, marks[Int(state)] != mark else { continue }
        marks[Int(state)] = mark
        work += 1
        switch automaton.states[Int(state)] {
        case .bytes: reading.append(state)
        case .split(let first, let second):
          open.append(second)
          open.append(first)
        case .assertion(let assertion, let next):
          if PatternAutomaton.holds(assertion, context) { open.append(next) }
        case .match: isMatch = true
        }
      }
      return reading
    }
  }
}
