/// How far one of a group's streams has been read, and what it may have lost before it could be. Pure.
///
/// A producer's message that is gone without having been read can't be told from one that was never there, and publishing
/// its event would double it.
package struct StreamReading: Sendable {
  /// What a stream's limits remove.
  package enum Removal: Sendable, Equatable {
    case nothing
    /// What is older than so many milliseconds.
    case byAge(Int64)
    /// The oldest messages, of any age.
    case oldest
  }

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
  /// The stream's last message when reading began, or began again; nil: the server's next answer tells.
  private var old: UInt64?
  private var removal: Removal

  /// Sequences that were not delivered. Whether limits have removed them, the next answer of the server tells.
  private struct Gap: Sendable {
    var number: Int
    /// Up to this one …
    var last: UInt64
    /// … which was stored by then.
    var time: Int64
    /// `through` as it was before: nothing of that time is missing.
    var through: Int64
  }
  private var open: [Gap] = []
  /// How many gaps were found: an answer tells nothing of one that was found after it was asked for.
  package private(set) var gaps = 0

  /// More are taken for one.
  private static let mostOpen = 64

  /// - Parameters:
  ///   - last: of the stream, as reading begins.
  ///   - lostUntil: messages up to this time may have been removed before; milliseconds since 1970.
  ///   - window: for how many milliseconds the server knows ids.
  package init(
    from next: UInt64, last: UInt64, removal: Removal, lostUntil: Int64?, window: Int64
  ) {
    self.next = next
    self.old = last
    self.removal = removal
    self.lostUntil = lostUntil
    self.window = window
  }

  /// Everything that was stored before this time has been read, or is known to be lost.
  package var readThrough: Int64 { open.first.map { min($0.through, through) } ?? through }

  /// Messages are missing, and why is not known yet.
  package var hasOpenGap: Bool { !open.isEmpty }

  /// What is to be kept for the next one who reads on.
  package var lost: Int64? {
    ([lostUntil, skippedUntil].compactMap { $0 } + open.map(\.time)).max()
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
    first: UInt64, last: UInt64, removal: Removal, at time: Int64, known: Int
  ) {
    self.removal = removal
    while let gap = open.first, gap.number <= known {
      open.removeFirst()
      // Limits remove the oldest first.
      if first > gap.last { note(gap, at: time) }
    }
    old = old ?? last
    if next > last {
      through = max(through, time)
      awaitedEnd = nil
    } else if awaitedEnd == nil {
      awaitedEnd = (last, time)
    }
  }

  private mutating func note(_ gap: Gap, at now: Int64) {
    let time: Int64
    switch removal {
    case .nothing: return
    case .byAge(let age): time = min(gap.time, now - age + 1000)
    case .oldest: time = gap.time
    }
    if let old, gap.last > old {
      skippedUntil = max(skippedUntil ?? time, time)
    } else {
      lostUntil = max(lostUntil ?? time, time)
    }
  }

  /// Reading was interrupted: the server may be another one now, which knows the ids of what it still holds.
  package mutating func noteInterruption() {
    lostUntil = [lostUntil, skippedUntil].compactMap { $0 }.max()
    skippedUntil = nil
    old = nil
  }

  /// The stream holds nothing from `next` to `last`, its end at that time: its newest messages are gone.
  ///
  /// - Parameters:
  ///   - stored: when the last of them was stored, or later.
  ///   - time: when the end was asked for; both in milliseconds since 1970.
  package mutating func noteHole(through last: UInt64, storedAt stored: Int64, at time: Int64) {
    guard next <= last else { return }
    skip(through: last, until: stored)
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
    // A fence's older message, or one that somebody has deleted.
    guard removal != .nothing else { return }
    gaps += 1
    if open.count < Self.mostOpen {
      open.append(Gap(number: gaps, last: last, time: time, through: through))
    } else {
      // As if the whole of it were gone where its first part is.
      open[open.count - 1].number = gaps
      open[open.count - 1].time = max(open[open.count - 1].time, time)
    }
  }
}
