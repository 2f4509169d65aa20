import JetStream

/// How far one of a group's streams has been read, and what it may have lost before it could be. Pure.
///
/// A producer's message that is gone without having been read can't be told from one that was never there, and publishing
/// its event would double it.
package struct StreamReading: Sendable {
  /// The sequence to read next.
  package private(set) var next: UInt64
  /// All that was stored before this time has been read, or is gone. Milliseconds since 1970, by MongoDB's clock.
  private var through: Int64 = 0
  /// An end that was asked for, and that reading has not come to.
  private var awaitedEnd: (sequence: UInt64, time: Int64)?

  /// Messages up to these times may be gone unread; nil: none is. Milliseconds since 1970.
  private var lostUntil: Int64?
  /// The same, but the server knows the ids of those that are new enough: it was the same one all the time.
  private var skippedUntil: Int64?
  /// For how long it does.
  private let window: Int64
  /// The stream's last message when reading began.
  private let old: UInt64
  /// The stream's limits remove messages. Without them, what is missing is a fence's older message, or somebody has
  /// removed it on purpose.
  private var isLimited: Bool

  /// Sequences that were not delivered, up to this one, and when the latest of them may have been stored. Whether limits
  /// have removed them, the next answer of the server tells.
  private var gap: (last: UInt64, time: Int64)?
  /// Grows with each gap: an answer tells nothing of one that was found later than it was asked for.
  package private(set) var gaps = 0

  /// - Parameters:
  ///   - last: of the stream, as reading begins.
  ///   - lostUntil: messages up to this time may have been removed before; milliseconds since 1970.
  ///   - window: for how many milliseconds the server knows ids.
  package init(
    from next: UInt64, last: UInt64, isLimited: Bool, lostUntil: Int64?, window: Int64
  ) {
    self.next = next
    self.old = last
    self.isLimited = isLimited
    self.lostUntil = lostUntil
    self.window = window
  }

  /// Everything that was stored before this time has been read, or is known to be lost; 0: nothing is known.
  package var readThrough: Int64 { gap == nil ? through : 0 }

  /// What is to be kept for the next one who reads on.
  package var lost: Int64? {
    [lostUntil, skippedUntil, isLimited ? gap?.time : nil].compactMap { $0 }.max()
  }

  /// Whether the stream may have held the message of an event of this time, and nobody has read it.
  ///
  /// - Parameters:
  ///   - time: of the event.
  ///   - now: both by MongoDB's clock, in milliseconds since 1970.
  package func mayHaveLost(_ time: Int64, now: Int64) -> Bool {
    if let lostUntil, time - Self.early <= lostUntil { return true }
    guard let skippedUntil, time - Self.early <= skippedUntil else { return false }
    // Published, it would be refused as a duplicate.
    return now - time > window - Self.margin
  }

  /// A producer's message may be dated so many milliseconds before its event: clocks differ, and some publish first.
  package static let early: Int64 = 5_000
  private static let margin: Int64 = 20_000

  // MARK: - What was found

  /// - Parameter time: when it was stored, or later; milliseconds since 1970.
  package mutating func read(_ sequence: UInt64, storedAt time: Int64) {
    if sequence > next { skip(through: sequence - 1, until: time) }
    next = sequence + 1
    guard let end = awaitedEnd, end.sequence <= sequence else { return }
    through = max(through, end.time)
    awaitedEnd = nil
  }

  /// The server's answer: under load, reading is never at the stream's end, so one that it has not come to counts as
  /// soon as it does.
  ///
  /// - Parameters:
  ///   - time: when it was asked for; milliseconds since 1970, by MongoDB's clock.
  ///   - known: the number of gaps at that time.
  package mutating func noteEnd(
    first: UInt64, last: UInt64, isLimited: Bool, at time: Int64, known: Int
  ) {
    self.isLimited = isLimited
    if let gap, known == gaps {
      // Limits remove the oldest first.
      if isLimited, first > gap.last {
        if gap.last <= old {
          lostUntil = max(lostUntil ?? gap.time, gap.time)
        } else {
          skippedUntil = max(skippedUntil ?? gap.time, gap.time)
        }
      }
      self.gap = nil
    }
    if next > last {
      through = max(through, time)
      awaitedEnd = nil
    } else if awaitedEnd == nil {
      awaitedEnd = (last, time)
    }
  }

  /// The stream holds nothing from `next` to `last`, its end at that time: its newest messages are gone.
  package mutating func noteHole(through last: UInt64, at time: Int64) {
    guard next <= last else { return }
    skip(through: last, until: time)
    next = last + 1
    through = max(through, time)
    awaitedEnd = nil
  }

  /// Nothing was found behind `next`, by a search that did not wait for reading to come to it; afterwards the stream
  /// began at `first`, which was stored at `time`.
  package mutating func noteSearched(from searched: UInt64, first: UInt64, at time: Int64) {
    guard first > searched else { return }
    lostUntil = max(lostUntil ?? time, time)
  }

  private mutating func skip(through last: UInt64, until time: Int64) {
    gap = (last, max(gap?.time ?? time, time))
    gaps += 1
  }
}
