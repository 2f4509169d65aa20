/// Values, counted by range: what Prometheus calls a histogram. A value; copies are cheap until one is changed.
package struct Histogram: Sendable {
  /// The upper bound of each range but the last, which has none; ascending.
  package let bounds: [Double]
  /// By range, one more than bounds.
  package private(set) var counts: [UInt64]
  package private(set) var sum = 0.0

  package init(bounds: [Double]) {
    self.bounds = bounds
    counts = Array(repeating: 0, count: bounds.count + 1)
  }

  /// From half a millisecond to a few minutes.
  package static let seconds = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
  ]
  /// From a microsecond to the tens of milliseconds that an event's budget allows.
  package static let shortSeconds = [
    0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05,
  ]
  package static let messages: [Double] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000]

  /// Counts a value that occurred `times` times. A value on a bound belongs to the range below it.
  package mutating func add(_ value: Double, times: UInt64 = 1) {
    var range = 0
    while range < bounds.count, value > bounds[range] { range += 1 }
    counts[range] &+= times
    sum += value * Double(times)
  }

  package var total: UInt64 { counts.reduce(0, &+) }

  /// What was counted since an earlier state of it.
  package func since(_ earlier: Histogram?) -> Histogram {
    guard let earlier, earlier.bounds == bounds, earlier.total <= total else { return self }
    var difference = self
    for range in counts.indices { difference.counts[range] &-= earlier.counts[range] }
    difference.sum -= earlier.sum
    return difference
  }

  /// The value below which that share of all is, between its range's bounds in proportion; of the last range, its
  /// lower bound. Nil if there is none.
  package func quantile(_ share: Double) -> Double? {
    let total = total
    guard total > 0 else { return nil }
    let rank = share * Double(total)
    var below: UInt64 = 0
    for (range, count) in counts.enumerated() where count > 0 {
      if Double(below &+ count) >= rank {
        guard range < bounds.count else { return bounds.last }
        let low = range == 0 ? 0 : bounds[range - 1]
        return low + (bounds[range] - low) * (rank - Double(below)) / Double(count)
      }
      below &+= count
    }
    return bounds.last
  }
}

/// Times and sizes of what is published, since the process began. Owned by the pipeline's event loop; copied to
/// the board for `/metrics`.
struct PublishMeasures: Sendable {
  /// From the write in MongoDB to the ack of its message, by MongoDB's clock. Messages of one ack count with the
  /// time of the oldest.
  var writeToStored = Histogram(bounds: Histogram.seconds)
  /// From the arrival of the entry, which MongoDB sends once a majority has it, to the ack of its message; counted
  /// as above.
  var receivedToStored = Histogram(bounds: Histogram.seconds)
  /// From writing a message to its ack; of one message of each stream at a time.
  var publishAck = Histogram(bounds: Histogram.seconds)
  /// Messages acknowledged at once.
  var acknowledged = Histogram(bounds: Histogram.messages)
  /// How long schemas take, of every 64th body.
  var validation = Histogram(bounds: Histogram.shortSeconds)
  /// Written for streams, protocol lines and headers included.
  var bytes: UInt64 = 0
}
