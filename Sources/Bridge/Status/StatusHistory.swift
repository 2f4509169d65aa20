import JSON
import Synchronization

/// The last hour in a few numbers, a sample every ten seconds: for the page's charts. Kept in memory, some 20 KB.
final class StatusHistory: Sendable {
  struct Sample: Sendable, Equatable {
    /// Seconds since 1970.
    var at: Int64
    /// Published a second.
    var rate: Double
    var lag: Double?
    var oldestUnsettled: Double?
    /// Half of the events were stored within this many seconds of their write; nil: there were none.
    var delay: Double?
    var slowDelay: Double?
    var headroom: Double?
  }

  static let interval: Int64 = 10
  static let longest = 360

  private struct Course {
    var samples: [Sample] = []
    var published: UInt64?
    var delays: Histogram?
  }

  private let course = Mutex(Course())

  /// Adds the differences since the last sample, an interval ago.
  func add(
    at: Int64, published: UInt64, delays: Histogram, lag: Double?, oldestUnsettled: Double?,
    headroom: Double?
  ) {
    course.withLock { course in
      let since = delays.since(course.delays)
      let new = published &- min(course.published ?? published, published)
      let rate = Double(new) / Double(Self.interval)
      course.samples.append(
        Sample(
          at: at, rate: rate, lag: lag, oldestUnsettled: oldestUnsettled,
          delay: since.quantile(0.5), slowDelay: since.quantile(0.99), headroom: headroom))
      if course.samples.count > Self.longest { course.samples.removeFirst() }
      course.published = published
      course.delays = delays
    }
  }

  var samples: [Sample] { course.withLock { $0.samples } }

  /// Column by column, oldest first.
  var json: JSONValue {
    let samples = samples
    func column(_ value: (Sample) -> Double?) -> JSONValue {
      .array(
        samples.map { sample in value(sample).map { .number(HealthReport.rounded($0)) } ?? .null })
    }
    return [
      "interval_seconds": .int(Self.interval),
      "at": .array(samples.map { .int($0.at) }),
      "events_per_second": column(\.rate), "lag_seconds": column(\.lag),
      "oldest_unsettled_seconds": column(\.oldestUnsettled),
      "write_to_stored_p50_seconds": column(\.delay),
      "write_to_stored_p99_seconds": column(\.slowDelay),
      "oplog_headroom_seconds": column(\.headroom),
    ]
  }
}
