import BSON
import Patterns

extension Runner {
  /// One walk over an object's members.
  ///
  /// Safety invariant: within one `checkObject`. `plan` and `table` lead into the program's tables,
  /// `predictions` into the run state's memory, which never moves; the validator keeps both alive.
  private struct Walk {
    let plan: UnsafeMutablePointer<ObjectPlan>
    let table: UnsafeMutablePointer<KeyTable>
    let predictions: UnsafeMutablePointer<Int32>
    /// The key table's entry that came last, counted from 1.
    var last = 0
    var count = 0
    /// The first 64 tracked keys that are present; `wide` is a bit set of all, if there are more.
    var seen: UInt64 = 0
    var wide: Int32 = -1
  }

  func checkObject(_ index: Int32, _ value: Bytes, _ frame: Int32) -> Bool {
    let plan = state.pointee.objects + Int(index)
    let table = state.pointee.tables + Int(plan.pointee.keys)
    var walk = Walk(
      plan: plan, table: table,
      predictions: state.pointee.predictions + Int(table.pointee.firstPrediction))
    if plan.pointee.wordCount > 1 {
      guard charge(Int(plan.pointee.wordCount) &>> 2) else { return false }
      walk.wide = state.pointee.pushBits(words: Int(plan.pointee.wordCount))
    }
    let isFine = forEach(value) { element in checkMember(element, &walk, value, frame) }
    let isWhole = isFine && checkPresence(walk, value, frame)
    if walk.wide >= 0 { state.pointee.popBits(walk.wide) }
    return isWhole
  }

  @inline(__always)
  private func checkMember(
    _ element: BSONElement, _ walk: inout Walk, _ whole: Bytes, _ frame: Int32
  ) -> Bool {
    let plan = walk.plan
    let index = walk.count
    walk.count &+= 1
    var isEvaluated = false
    let key = element.key
    let word = Self.word(key, in: whole)
    let found = entry(word, key, &walk)
    if found >= 0 {
      let entry = state.pointee.entries + (Int(walk.table.pointee.first) &+ found)
      let bit = Int(entry.pointee.bit)
      if bit >= 0 {
        if walk.wide >= 0 { state.pointee.mark(bit, in: walk.wide) }
        walk.seen |= bit < 64 ? 1 &<< UInt64(bit) : 0
      }
      if entry.pointee.node >= 0 {
        guard check(entry.pointee.node, element.type, element.value, -1) else { return false }
        isEvaluated = true
      }
    }
    if plan.pointee.patternCount > 0 {
      guard checkPatterns(plan, element, &isEvaluated) else { return false }
    }
    if !isEvaluated, plan.pointee.additional >= 0 {
      guard check(plan.pointee.additional, element.type, element.value, -1) else { return false }
      isEvaluated = true
    }
    if plan.pointee.names >= 0 {
      guard check(plan.pointee.names, .string, Self.stringValue(key), -1) else { return false }
    }
    if frame >= 0, isEvaluated { state.pointee.mark(index, in: frame) }
    return true
  }

  /// The index of a key in the walk's table, or -1. Documents of a kind have their keys in the same
  /// order, so the one that followed last time is tried first.
  @inline(__always)
  private func entry(_ word: UInt64, _ key: Bytes, _ walk: inout Walk) -> Int {
    if walk.table.pointee.count == 0 { return -1 }
    let predicted = Int(walk.predictions[walk.last])
    let entry = state.pointee.entries + (Int(walk.table.pointee.first) &+ predicted)
    if matches(entry, word, key) {
      walk.last = predicted &+ 1
      return predicted
    }
    let found = self.entry(walk.plan.pointee.keys, word, key)
    if found >= 0 {
      walk.predictions[walk.last] = Int32(found)
      walk.last = found &+ 1
    }
    return found
  }

  /// A key's first eight bytes, zeros behind its end. Within the whole document, reading beyond the
  /// key is fine.
  @inline(__always)
  private static func word(_ key: Bytes, in whole: Bytes) -> UInt64 {
    guard let start = key.baseAddress, let origin = whole.baseAddress else { return 0 }
    let offset = start - origin
    if key.count >= 8 { return start.loadUnaligned(as: UInt64.self) }
    if offset >= 0, offset &+ 8 <= whole.count {
      let word = start.loadUnaligned(as: UInt64.self)
      return word & ((1 &<< UInt64(key.count &* 8)) &- 1)
    }
    return KeyHash.word(key)
  }

  /// A key as the value of a string: four bytes before its text, one after it. These are never
  /// read.
  @inline(__always)
  static func stringValue(_ key: Bytes) -> Bytes {
    Bytes(start: key.baseAddress.map { $0 - 4 }, count: key.count &+ 5)
  }

  @inline(never)
  private func checkPatterns(
    _ plan: UnsafeMutablePointer<ObjectPlan>, _ element: BSONElement, _ isEvaluated: inout Bool
  ) -> Bool {
    let count = element.key.count
    guard charge(Int(plan.pointee.patternCount) &* (1 &+ (count &* SchemaBudget.patternCost) &>> 6))
    else { return false }
    guard UTF8Decoding.length(element.key) >= 0 else { return fail(.invalidUTF8) }
    let first = state.pointee.program.propertyPatterns + Int(plan.pointee.firstPattern)
    for index in 0..<Int(plan.pointee.patternCount) {
      let part = first + index
      guard search(part.pointee.table, part.pointee.pattern, element.key) else {
        if hasFault { return false }
        continue
      }
      guard check(part.pointee.node, element.type, element.value, -1) else { return false }
      isEvaluated = true
    }
    return true
  }

  /// The checks of an object's set of members.
  @inline(__always)
  private func checkPresence(_ walk: Walk, _ value: Bytes, _ frame: Int32) -> Bool {
    let plan = walk.plan
    guard walk.count >= plan.pointee.least, walk.count <= plan.pointee.most,
      walk.seen & plan.pointee.required == plan.pointee.required
    else { return false }
    if walk.wide >= 0, !hasAll(plan.pointee.firstWord, walk) { return false }
    return plan.pointee.dependentCount == 0 || checkDependents(walk, value, frame)
  }

  /// Whether all keys of a mask are present.
  private func hasAll(_ firstWord: Int32, _ walk: Walk) -> Bool {
    let words = state.pointee.program.words + Int(firstWord)
    if walk.wide < 0 { return walk.seen & words[0] == words[0] }
    for index in 0..<Int(walk.plan.pointee.wordCount) {
      let seen = state.pointee.bits[Int(walk.wide) &+ 1 &+ index]
      guard seen & words[index] == words[index] else { return false }
    }
    return true
  }

  @inline(never)
  private func checkDependents(_ walk: Walk, _ value: Bytes, _ frame: Int32) -> Bool {
    let count = Int(walk.plan.pointee.dependentCount)
    guard charge(count &* (1 &+ Int(walk.plan.pointee.wordCount) &>> 2)) else { return false }
    let first = state.pointee.program.dependents + Int(walk.plan.pointee.firstDependent)
    for index in 0..<Int(walk.plan.pointee.dependentCount) {
      let dependent = first + index
      let bit = Int(dependent.pointee.bit)
      let isThere =
        walk.wide >= 0
        ? state.pointee.isSet(bit, in: walk.wide) : walk.seen &>> UInt64(bit & 63) & 1 == 1
      guard isThere else { continue }
      if dependent.pointee.node >= 0 {
        guard check(dependent.pointee.node, .document, value, frame) else { return false }
      } else {
        guard hasAll(dependent.pointee.firstWord, walk) else { return false }
      }
    }
    return true
  }
}
