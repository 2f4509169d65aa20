import Bridge
import TestRandom
import Testing

@Suite("What of a stream was gone before it was read")
struct StreamReadingTests {
  private func reading(
    from next: UInt64 = 1, last: UInt64 = 0, removal: StreamReading.Removal = .oldest,
    lostUntil: Int64? = nil
  ) -> StreamReading {
    StreamReading(
      from: next, last: last, removal: removal, lostUntil: lostUntil, window: 120_000)
  }

  @Test("an end counts once reading has come to it")
  func ends() {
    var reading = reading()
    reading.read(1, storedAt: 1000)
    reading.noteEnd(first: 1, last: 3, removal: .oldest, at: 5000, known: 0)
    reading.noteEnd(first: 1, last: 9, removal: .oldest, at: 6000, known: 0)
    #expect(reading.readThrough == 0)
    reading.read(2, storedAt: 1000)
    reading.read(3, storedAt: 1000)
    #expect(reading.readThrough == 5000)
    #expect(reading.next == 4)
    #expect(!reading.mayHaveLost(0, now: 9000) && reading.lost == nil)
  }

  @Test("nothing is decided between a gap and the answer of a server that was asked behind it")
  func question() {
    var reading = reading()
    reading.read(1, storedAt: 1000)
    reading.noteEnd(first: 1, last: 1, removal: .oldest, at: 2000, known: 0)
    let before = reading.gaps
    reading.read(5, storedAt: 3000)
    #expect(reading.readThrough == 2000)
    // What is written down meanwhile says so, too.
    #expect(reading.lost == 3000)
    reading.noteEnd(first: 1, last: 5, removal: .oldest, at: 2900, known: before)
    #expect(reading.readThrough == 2000)
    reading.noteEnd(first: 5, last: 5, removal: .oldest, at: 3100, known: reading.gaps)
    #expect(reading.readThrough == 3100)
    // A producer may have been earlier than its event.
    #expect(reading.mayHaveLost(8000, now: 300_000))
    #expect(!reading.mayHaveLost(8001, now: 300_000))
    #expect(reading.lost == 3000)
  }

  @Test("a message that a limit took is known by its id for a while, unless reading has just begun")
  func window() {
    var late = reading(last: 1)
    late.read(1, storedAt: 1000)
    late.read(5, storedAt: 3000)
    late.noteEnd(first: 5, last: 5, removal: .oldest, at: 3100, known: late.gaps)
    #expect(!late.mayHaveLost(2000, now: 50_000))
    #expect(late.mayHaveLost(2000, now: 110_000))
    // The server may be another one than the one that stored it.
    var early = reading(last: 4)
    early.read(5, storedAt: 3000)
    early.noteEnd(first: 5, last: 5, removal: .oldest, at: 3100, known: early.gaps)
    #expect(early.mayHaveLost(2000, now: 3100))
  }

  @Test("what is missing in the middle was taken by no limit, nor is it in a stream without limits")
  func otherGaps() {
    for (first, removal) in [(UInt64(1), StreamReading.Removal.oldest), (5, .nothing)] {
      var reading = reading(last: 9, removal: removal)
      reading.read(1, storedAt: 1000)
      reading.read(5, storedAt: 3000)
      #expect(reading.hasOpenGap == (removal == .oldest))
      reading.noteEnd(first: first, last: 5, removal: removal, at: 3100, known: reading.gaps)
      #expect(reading.readThrough == 3100)
      #expect(!reading.mayHaveLost(0, now: .max / 2) && reading.lost == nil)
    }
  }

  @Test("a limit's gap is not hidden by one in the middle that was found behind it")
  func twoGaps() {
    var reading = reading(last: 9)
    reading.read(5, storedAt: 3000)
    reading.read(6, storedAt: 3500)
    reading.read(8, storedAt: 4000)
    reading.noteEnd(first: 5, last: 9, removal: .oldest, at: 5000, known: reading.gaps)
    #expect(reading.lost == 3000 && !reading.hasOpenGap)
  }

  @Test("an answer tells of the gaps that were found before it was asked for, however many follow")
  func manyGaps() {
    var reading = reading(last: 0)
    reading.read(1, storedAt: 1000)
    reading.noteEnd(first: 1, last: 1, removal: .oldest, at: 1500, known: 0)
    var sequence: UInt64 = 1
    for round in 1...200 {
      let known = reading.gaps
      for _ in 0..<3 {
        sequence += 2
        reading.read(sequence, storedAt: Int64(round) * 2000)
      }
      // What was known before the first of them is as it was.
      #expect(reading.readThrough >= 1500)
      reading.noteEnd(
        first: sequence, last: sequence, removal: .oldest, at: Int64(round) * 2000 + 100,
        known: known)
    }
    #expect(reading.readThrough >= 199 * 2000)
    #expect(reading.mayHaveLost(199 * 2000, now: .max / 2))
  }

  @Test("age takes only what is old")
  func age() {
    var reading = reading(last: 9, removal: .byAge(60_000))
    reading.read(9, storedAt: 100_000)
    reading.noteEnd(first: 9, last: 9, removal: .byAge(60_000), at: 100_000, known: 1)
    #expect(reading.lost == 41_000)
  }

  @Test("an interruption may be another server, which knows no ids of what is gone")
  func interruption() {
    var reading = reading(last: 0)
    reading.read(5, storedAt: 3000)
    reading.noteEnd(first: 5, last: 5, removal: .oldest, at: 3100, known: 1)
    #expect(!reading.mayHaveLost(3000, now: 3100))
    reading.noteInterruption()
    #expect(reading.mayHaveLost(3000, now: 3100))
    reading.read(9, storedAt: 4000)
    reading.noteEnd(first: 9, last: 12, removal: .oldest, at: 4100, known: 2)
    #expect(reading.mayHaveLost(4000, now: 4100))
    reading.read(14, storedAt: 20_000)
    reading.noteEnd(first: 14, last: 14, removal: .oldest, at: 20_100, known: 3)
    #expect(!reading.mayHaveLost(20_000, now: 20_100))
  }

  @Test("a stream that was emptied before its end was read")
  func hole() {
    var reading = reading(last: 7)
    reading.noteEnd(first: 8, last: 7, removal: .oldest, at: 4000, known: 0)
    reading.noteHole(through: 7, storedAt: 2500, at: 4000)
    #expect(reading.next == 8 && reading.readThrough == 0)
    reading.noteEnd(first: 8, last: 7, removal: .oldest, at: 4100, known: reading.gaps)
    #expect(reading.readThrough == 4100)
    // Up to when its last message was stored.
    #expect(reading.mayHaveLost(7500, now: 4100) && !reading.mayHaveLost(7501, now: 4100))
    // One that reading has passed already.
    reading.noteHole(through: 7, storedAt: 2500, at: 9000)
    #expect(reading.readThrough == 4100)
  }

  @Test("a search that did not wait for reading misses what had been removed behind it")
  func search() {
    var reading = reading(lostUntil: 500)
    #expect(reading.mayHaveLost(5500, now: 600) && !reading.mayHaveLost(5501, now: 600))
    reading.noteSearched(from: 10, first: 10, at: 7000)
    #expect(!reading.mayHaveLost(5600, now: 7000))
    reading.noteSearched(from: 10, first: 11, at: 7000)
    #expect(reading.mayHaveLost(12_000, now: 7000) && !reading.mayHaveLost(12_001, now: 7000))
  }

  /// A stream that keeps its newest messages, read with pauses: whatever is removed unread is suspected from the first
  /// moment on in which its event could be decided, and nothing is suspected without a gap.
  @Test("every message that is removed unread is suspected", arguments: 0..<200)
  func property(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let kept = UInt64.random(in: 1...20, using: &random)
    var (last, now) = (UInt64(0), Int64(1000))
    var times: [UInt64: Int64] = [:]
    var reading = reading()
    var unread: [Int64] = []
    var question: (first: UInt64, last: UInt64, at: Int64, known: Int)?
    for _ in 0..<400 {
      now += Int64.random(in: 1...50, using: &random)
      let first = last >= kept ? last - kept + 1 : 1
      switch Int.random(in: 0..<4, using: &random) {
      case 0:
        for _ in 0..<Int.random(in: 1...8, using: &random) {
          last += 1
          times[last] = now
        }
      case 1:
        var next = max(reading.next, first)
        let most = next + UInt64.random(in: 0...10, using: &random)
        while next <= min(last, most) {
          for lost in reading.next..<next { unread.append(times[lost] ?? 0) }
          reading.read(next, storedAt: times[next] ?? 0)
          next += 1
        }
      case 2: question = (first, last, now, reading.gaps)
      default:
        guard let asked = question else { break }
        question = nil
        reading.noteEnd(
          first: asked.first, last: asked.last, removal: .oldest, at: asked.at, known: asked.known)
      }
      for time in unread where reading.readThrough >= time {
        #expect(reading.mayHaveLost(time, now: time + 200_000))
      }
      if unread.isEmpty { #expect(reading.lost == nil) }
    }
  }
}
