import BSON
public import Oplog

/// An oplog entry without its bytes, which `SimulatedReplicaSet` keeps for all members.
public struct SimulatedEntry: Sendable {
  public var position: OplogPosition
  /// -1: the entry has none, as the first of all.
  public var term: Int64
  /// How many entries its history has before it.
  public var index: Int
  /// The transaction's entry before it (`prevOpTime`); zero if there is none.
  public var previous: OplogPosition
  /// Milliseconds since 1970, by the primary's clock.
  public var wallTime: Int64
  var start: Int
  var length: Int

  public var opTime: OpTime { OpTime(position: position, term: term) }
}

/// A member's oplog: numbers of entries. Members that have the same history have the same number at the same
/// index, and so in everything before it.
struct MemberLog: Sendable {
  private var numbers: [Int] = []
  /// The index of the first in `numbers`.
  private var base = 0
  /// The index of the oldest entry.
  private(set) var start = 0
  /// The index after the newest entry.
  var end: Int { base + numbers.count }
  var isEmpty: Bool { start == end }

  subscript(index: Int) -> Int { numbers[index - base] }

  func has(_ number: Int, at index: Int) -> Bool {
    index >= start && index < end && self[index] == number
  }

  mutating func append(_ number: Int) { numbers.append(number) }

  /// Removes the newest entries.
  mutating func cut(to end: Int) {
    numbers.removeLast(self.end - end)
    start = min(start, end)
  }

  /// Removes the oldest entries.
  mutating func drop(before index: Int) {
    start = max(start, index)
    guard start - base > 64, (start - base) * 2 > numbers.count else { return }
    numbers.removeFirst(start - base)
    base = start
  }

  /// Where two histories part: everything before it is in both, as far as they reach back.
  func common(with other: MemberLog) -> Int {
    var index = min(end, other.end)
    let oldest = max(start, other.start)
    while index > oldest, self[index - 1] != other[index - 1] { index -= 1 }
    return index
  }
}
