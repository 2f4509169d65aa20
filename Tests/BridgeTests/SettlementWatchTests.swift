import Bridge
import Oplog
import Testing

/// What moves, and what does not count as moving.
@Suite struct SettlementWatchTests {
  /// A pipeline in a few numbers: entries 1, 2, 3 … of one second each, an event in each.
  private struct Course {
    var watch = SettlementWatch()
    let began = ContinuousClock.now
    var seconds = 0.0
    var epoch: UInt64 = 1
    var activity: UInt64 = 0
    var majority: UInt32 = 0

    var now: ContinuousClock.Instant { began + .milliseconds(Int(seconds * 1000)) }
    var still: Double? { watch.still(at: now) }
    var age: Double? { watch.oldestAge(at: now) }

    /// MongoDB's clock shows 1,000 seconds when the course begins.
    var wall: Int64 { 1_000_000 + Int64(seconds * 1000) }

    static func position(_ entry: UInt32, _ index: UInt32 = 0) -> EventPosition {
      EventPosition(entry: OplogPosition(seconds: entry, increment: 1), index: index)
    }

    /// Everything up to `settled` is, `oldest` is not.
    mutating func look(settled: UInt32?, oldest: EventPosition? = nil, written: Int64? = nil) {
      seconds += 0.1
      activity += 1
      var sight = SettlementWatch.Sight(at: now)
      sight.epoch = epoch
      sight.activity = activity
      sight.settled = settled.map { Self.position($0, .max) }
      sight.settledWall = wall
      sight.oldest = oldest.map { UnsettledEvent(position: $0, wallTime: written) }
      sight.majority = majority > 0 ? OplogPosition(seconds: majority, increment: 1) : nil
      sight.majorityWall = wall
      sight.polledWall = wall
      watch.observe(sight)
    }

    mutating func repeated(_ seconds: Double, _ step: (inout Course) -> Void) {
      let end = self.seconds + seconds - 0.05
      while self.seconds < end { step(&self) }
    }
  }

  @Test func `everything settled is no stall, however long it lasts`() {
    var course = Course()
    course.majority = 5
    course.repeated(60) { $0.look(settled: 5) }
    #expect(course.still == nil)
    #expect(!course.watch.hasWork)
    #expect(course.watch.lag == 0)
    #expect(course.age == 0)
  }

  @Test func `a new event after an hour of quiet has just begun to wait`() {
    var course = Course()
    course.majority = 5
    course.look(settled: 5)
    course.seconds += 3600
    course.majority = 6
    course.look(settled: 5, oldest: Course.position(6), written: course.wall)
    #expect((course.still ?? 100) < 0.2)
    #expect((course.age ?? 100) < 0.2)
  }

  @Test func `reading ahead is no progress`() {
    var course = Course()
    course.look(settled: 5)
    let written = course.wall
    var entry: UInt32 = 6
    course.repeated(20) {
      entry += 1
      $0.majority = entry
      $0.look(settled: entry, oldest: Course.position(6), written: written)
    }
    #expect((course.still ?? 0) > 19)
    #expect(abs((course.age ?? 0) - 20) < 0.2)
    #expect((course.watch.lag ?? 0) > 19)
    // Behind it is settled, it is not.
    course.look(settled: entry)
    #expect(course.still == nil)
  }

  @Test func `epochs that read the same again and are refused are no progress`() {
    var course = Course()
    course.majority = 9
    course.look(settled: 5, oldest: Course.position(6), written: course.wall)
    for _ in 0..<12 {
      course.repeated(0.5) { $0.look(settled: nil) }
      course.epoch += 1
      var entry: UInt32 = 1
      course.repeated(1.5) {
        entry = min(entry + 1, 6)
        if entry < 6 {
          $0.look(settled: entry)
        } else {
          $0.look(settled: 5, oldest: Course.position(6), written: 1_000_000)
        }
      }
    }
    #expect((course.still ?? 0) > 23)
  }

  @Test func `between epochs the oldest event stays what it was`() {
    var course = Course()
    course.look(settled: 5, oldest: Course.position(6, 3), written: course.wall)
    course.repeated(15) { $0.look(settled: nil) }
    #expect(course.watch.oldest?.position == Course.position(6, 3))
    #expect((course.still ?? 0) > 14)
    #expect((course.age ?? 0) > 14)
  }

  @Test func `a long transaction that is read again is progress, once`() {
    var course = Course()
    course.majority = 5000
    course.look(settled: 4000)
    course.epoch += 1
    var entry: UInt32 = 1
    course.repeated(60) {
      entry += 1
      $0.look(settled: entry)
      #expect(($0.still ?? 0) < 5)
    }
    // It fails and is read again, and again.
    for _ in 0..<4 {
      course.epoch += 1
      entry = 1
      course.repeated(10) {
        entry += 1
        $0.look(settled: entry)
      }
    }
    #expect((course.still ?? 0) > 15)
  }

  @Test func `a snapshot's events move within one position`() {
    var course = Course()
    course.majority = 100
    var index: UInt32 = 0
    course.repeated(60) {
      index += 50
      $0.look(settled: nil, oldest: Course.position(7, index))
      #expect(($0.still ?? 0) < 1)
    }
  }

  @Test func `one lane stalls while another moves`() {
    // The pipeline shows the oldest of all lanes.
    var course = Course()
    course.majority = 500
    course.repeated(30) { $0.look(settled: 400, oldest: Course.position(6), written: 990_000) }
    #expect((course.still ?? 0) > 29)
  }

  @Test func `entries that are not read are work after two seconds, and still`() {
    var course = Course()
    course.majority = 5
    course.look(settled: 5)
    course.majority = 8
    course.repeated(1) { $0.look(settled: 5) }
    #expect(!course.watch.hasWork)
    course.repeated(11) { $0.look(settled: 5) }
    #expect(course.watch.hasWork)
    #expect((course.still ?? 0) > 10)
    // They can't be older than the moment at which there was nothing to do.
    #expect(abs((course.watch.lag ?? 0) - 12) < 0.3)
  }

  @Test func `lag and age have fractions of a second`() {
    var course = Course()
    course.majority = 6
    course.look(settled: 5, oldest: Course.position(6), written: course.wall - 350)
    #expect(abs((course.watch.lag ?? 0) - 0.45) < 0.001)
    #expect(abs((course.age ?? 0) - 0.45) < 0.001)
  }

  @Test func `catching up is as old as what it is at, and moves`() {
    var course = Course()
    course.majority = 900
    for entry in UInt32(100)..<400 {
      course.look(
        settled: entry, oldest: Course.position(entry + 1), written: Int64(entry + 1) * 1000)
    }
    #expect((course.still ?? 0) < 0.2)
    #expect((course.age ?? 0) > 500)
  }

  @Test func `before anything is known nothing is said`() {
    var course = Course()
    course.look(settled: nil)
    #expect(course.still == nil)
    #expect(course.age == nil)
    #expect(course.watch.lag == nil)
  }
}
