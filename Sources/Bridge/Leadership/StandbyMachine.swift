/// Decides when a standby takes the lease: a pure value, beside the driver that reads the lease and asks the
/// leader (`Leadership`).
///
/// The only clock is the observer's own, and only its differences count: a lease is expired when its revision
/// has not changed for a period since this instance first saw it. Clocks of two machines are never compared.
package struct StandbyMachine: Sendable {
  package struct Settings: Sendable {
    /// This process.
    package var instance: String
    package var configurationHash: String
    /// Of this instance. The holder's own, if longer, counts.
    package var period: Duration

    package init(instance: String, configurationHash: String, period: Duration) {
      self.instance = instance
      self.configurationHash = configurationHash
      self.period = period
    }
  }

  /// One reading of the lease's key.
  package struct Reading: Sendable, Equatable {
    /// Of the key, deleted or not; 0: never written, or there is no bucket.
    package var revision: UInt64
    /// Nil: there is none.
    package var record: LeaseRecord?

    package init(revision: UInt64, record: LeaseRecord?) {
      self.revision = revision
      self.record = record
    }
  }

  /// How a question on the leader's subject ended.
  package enum Answer: Sendable, Equatable {
    case answered
    /// Nobody subscribes to it.
    case nobody
    /// No answer came in time.
    case silence
  }

  package enum Decision: Sendable, Equatable {
    case wait
    /// Take it, asserting the revision that was read last.
    case take(TakeoverReason)
  }

  package var settings: Settings
  /// The last reading.
  package private(set) var last: Reading?
  /// The highest epoch that was ever read.
  package private(set) var highestEpoch: UInt64 = 0
  /// Since when the last reading's revision is known, and until when.
  private var unchangedSince: Duration?
  private var readAt = Duration.zero
  /// Since when nobody has subscribed to the leader's subject, and how often in a row that was found.
  private var nobodySince: Duration?
  private var nobodyCount = 0
  /// Since when this instance's own connection has been up.
  private var connectedSince: Duration?
  /// Streams show that the bridge has published before: where there is no lease at all, its bucket may have been deleted
  /// under a leader, which publishes until its next renewal.
  package var hasTraces = false

  package init(_ settings: Settings) { self.settings = settings }

  /// So often nobody has to be found, …
  package static let confirmations = 3
  /// … for so long, …
  package static let absence = Duration.milliseconds(100)
  /// … by a connection that is at least this old: after a server's restart, a leader may connect later than a
  /// standby.
  package static let settling = Duration.seconds(2)
  /// With another configuration than the holder's, a lease has to be expired for so many periods.
  package static let periodsForOtherConfiguration = 4

  /// The holder has been seen alive: it answered, or renewed its lease.
  private var hasSeenHolder = false

  /// This instance's connection was made.
  package mutating func connected(at now: Duration) {
    connectedSince = now
    nobodySince = nil
    nobodyCount = 0
  }

  package mutating func read(_ reading: Reading, at now: Duration) {
    highestEpoch = max(highestEpoch, reading.record?.epoch ?? 0)
    let pause = now - readAt
    readAt = now
    if let last {
      if last == reading {
        // Between two looks that are so far apart, a bucket may have come and gone.
        if reading.record == nil, pause > longestPause { unchangedSince = now }
        return
      }
      // A bucket that is made again counts its revisions from the beginning.
      hasSeenHolder = true
    }
    last = reading
    unchangedSince = now
    // Whoever wrote it has a connection.
    nobodySince = nil
    nobodyCount = 0
  }

  package mutating func heard(_ answer: Answer, at now: Duration) {
    if answer == .answered { hasSeenHolder = true }
    guard answer == .nobody else {
      nobodySince = nil
      nobodyCount = 0
      return
    }
    nobodySince = nobodySince ?? now
    nobodyCount += 1
  }

  /// Nobody seems to be there: look again soon.
  package var isSuspicious: Bool { nobodyCount > 0 }

  /// The leader's connection seems to be gone; it may have renewed its lease since that was last read.
  package var wantsReading: Bool {
    guard let nobodySince, nobodyCount >= Self.confirmations else { return false }
    return readAt <= nobodySince
  }

  /// Another instance has the lease.
  package var holder: LeaseRecord? {
    guard let record = last?.record, !record.isReleased, record.holder != settings.instance else {
      return nil
    }
    return record
  }

  /// This instance is a standby; not while it is only waiting for the lease of a process that has died.
  package func isStandby(at now: Duration) -> Bool {
    guard holder != nil, let unchangedSince else { return false }
    return hasSeenHolder || now - unchangedSince > Self.settling + .seconds(1)
  }

  /// A lease that is missing has no revision to compare: it has to be missing at every look, and looks that are further
  /// apart than this don't count together.
  private var longestPause: Duration { max(settings.period / 2, Self.shortestPause) }
  private static let shortestPause = Duration.seconds(3)

  /// How long the lease has not changed, as far as this instance knows.
  package func unchanged(at now: Duration) -> Duration? { unchangedSince.map { now - $0 } }

  /// For how long the holder has to be silent.
  private func patience(with record: LeaseRecord) -> Duration {
    let period = max(settings.period, record.period)
    return isForeign(record) ? period * Self.periodsForOtherConfiguration : period
  }

  /// The holder has another configuration: its lease isn't taken unless it is released, or long expired.
  package func isForeign(_ record: LeaseRecord) -> Bool {
    record.configurationHash != settings.configurationHash
  }

  package func decide(at now: Duration) -> Decision {
    guard let last, let unchangedSince else { return .wait }
    guard let record = last.record else {
      // A bucket that was deleted under a leader comes back with its next renewal.
      guard highestEpoch > 0 || hasTraces else { return .take(.first) }
      guard readAt - unchangedSince >= settings.period else { return .wait }
      return .take(highestEpoch > 0 ? .expired : .first)
    }
    // Our own, by a write whose answer was lost, is taken again like a released one.
    if record.isReleased || record.holder == settings.instance { return .take(.released) }
    if readAt - unchangedSince >= patience(with: record) { return .take(.expired) }
    if let nobodySince, let connectedSince, record.answers, !isForeign(record),
      nobodyCount >= Self.confirmations, readAt > nobodySince, now - nobodySince >= Self.absence,
      now - connectedSince >= Self.settling
    {
      return .take(.connectionGone)
    }
    return .wait
  }
}
