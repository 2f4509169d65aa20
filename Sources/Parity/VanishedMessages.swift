public import Oplog

/// Messages that the first read of a stream found and the second did not: removed in between by the
/// stream's limits, by newer messages of their subjects, or by a user.
public enum VanishedMessages {
  /// - Parameters:
  ///   - looked: the sequences that were read again.
  ///   - found: the messages found there and around, in order, with the positions of the bridge's messages.
  ///   - known: holes that the first read found, in order.
  public static func holes(
    looked: [ClosedRange<UInt64>], found: [(sequence: UInt64, position: EventPosition?)],
    known: [StreamLedger.Hole]
  ) -> [StreamLedger.Hole] {
    var vanished: [StreamLedger.Hole] = []
    // For each index: the position of the bridge's next message, and of its previous one.
    var following = [EventPosition?](repeating: nil, count: found.count + 1)
    for index in found.indices.reversed() {
      following[index] = found[index].position ?? following[index + 1]
    }
    var preceding: [EventPosition?] = [nil]
    for one in found { preceding.append(one.position ?? preceding[preceding.count - 1]) }
    for range in joined(looked) {
      var next = range.lowerBound
      var isOver = false
      var index = found.partitioningIndex { $0.sequence >= range.lowerBound }
      while !isOver {
        let end =
          index < found.count ? min(found[index].sequence, range.upperBound) : range.upperBound
        let isFound = index < found.count && found[index].sequence == end
        if isFound ? end > next : end >= next {
          let gap = next...(isFound ? end - 1 : end)
          for piece in pieces(of: gap, without: known) {
            vanished.append(
              StreamLedger.Hole(
                sequences: piece, before: preceding[index], after: following[index]))
          }
        }
        isOver = end >= range.upperBound
        next = end &+ 1
        index += 1
      }
    }
    return vanished
  }

  /// Sorted, with overlapping ranges joined.
  public static func joined(_ ranges: [ClosedRange<UInt64>]) -> [ClosedRange<UInt64>] {
    var joined: [ClosedRange<UInt64>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = joined.last, range.lowerBound <= last.upperBound {
        joined[joined.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        joined.append(range)
      }
    }
    return joined
  }

  private static func pieces(
    of gap: ClosedRange<UInt64>, without known: [StreamLedger.Hole]
  ) -> [ClosedRange<UInt64>] {
    var pieces: [ClosedRange<UInt64>] = []
    var next = gap.lowerBound
    for hole in known[known.partitioningIndex { $0.sequences.upperBound >= gap.lowerBound }...] {
      guard hole.sequences.lowerBound <= gap.upperBound else { break }
      if hole.sequences.lowerBound > next { pieces.append(next...(hole.sequences.lowerBound - 1)) }
      guard hole.sequences.upperBound < gap.upperBound else { return pieces }
      next = max(next, hole.sequences.upperBound + 1)
    }
    pieces.append(next...gap.upperBound)
    return pieces
  }
}
