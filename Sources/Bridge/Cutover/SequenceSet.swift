/// Sequences of a stream, as runs: mostly consecutive ones take little room.
package struct SequenceSet: Sendable, Equatable {
  package private(set) var runs: [ClosedRange<UInt64>] = []

  package init() {}

  /// - Parameter sequences: in any order.
  package init(_ sequences: [UInt64]) {
    for sequence in sequences.sorted() {
      if let last = runs.last, sequence <= last.upperBound { continue }
      if let last = runs.last, sequence == last.upperBound + 1 {
        runs[runs.count - 1] = last.lowerBound...sequence
      } else {
        runs.append(sequence...sequence)
      }
    }
  }

  /// Each of them. Not for many.
  package var sequences: [UInt64] { runs.flatMap { Array($0) } }

  /// The first runs only.
  package func prefix(_ count: Int) -> SequenceSet {
    var short = self
    short.runs = Array(runs.prefix(count))
    return short
  }

  package var isEmpty: Bool { runs.isEmpty }
  package var first: UInt64? { runs.first?.lowerBound }

  package func contains(_ sequence: UInt64) -> Bool {
    var low = 0
    var high = runs.count
    while low < high {
      let middle = (low + high) / 2
      if runs[middle].upperBound < sequence { low = middle + 1 } else { high = middle }
    }
    return low < runs.count && runs[low].contains(sequence)
  }

  /// `100-205,300`
  package var text: String {
    runs.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
      .joined(separator: ",")
  }

  package init?(_ text: String) {
    for part in text.split(separator: ",") {
      let ends = part.split(separator: "-").map { UInt64($0) }
      guard let first = ends.first ?? nil, let last = ends.last ?? nil, first <= last,
        ends.count <= 2, runs.last.map({ $0.upperBound < first }) ?? true
      else { return nil }
      runs.append(first...last)
    }
  }
}
