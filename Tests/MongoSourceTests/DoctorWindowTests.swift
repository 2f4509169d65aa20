import MongoSource
import Oplog
import Testing

/// How far back the oplog reaches.
extension DoctorCheckTests {
  private static func ends(_ seconds: UInt32) -> Answer<DoctorFacts.OplogEnds> {
    .known(DoctorFacts.OplogEnds(oldest: point(1_000_000 - seconds), newest: point(1_000_000)))
  }

  private static func size(_ share: Double) -> Answer<DoctorFacts.OplogSize> {
    .known(DoctorFacts.OplogSize(bytes: share * 2e9, maximum: 2e9))
  }

  static let windowCases: [(Int, Double, Double, Verdict)] = [
    // A full oplog of six hours, of half an hour.
    (6 * 3600, 1.0, 0, .warn), (1800, 1.0, 0, .warn), (1800, 1.2, 0, .warn),
    // Minimum retention compensates.
    (1800, 1.2, 24, .ok), (1800, 1.0, 12, .warn),
    // Young and far from full; filling fast; too young to predict.
    (6 * 3600, 0.1, 0, .ok), (6 * 3600, 0.5, 0, .warn),
  ]

  @Test(arguments: windowCases)
  func windows(
    seconds: Int, filled: Double, retention: Double, verdict: Verdict
  ) throws {
    let found = try check("mongodb.oplog_window") { facts in
      facts.oplog = Self.ends(UInt32(seconds))
      facts.members = []
      facts.oplogSize = Self.size(filled)
      facts.retention = .known(retention)
    }
    #expect(found.verdict == verdict, "\(found)")
    if verdict != .ok {
      #expect(
        found.remedy?.contains(
          "db.adminCommand({ replSetResizeOplog: 1, size: Double(1907), minRetentionHours: 24 })")
          == true, "\(found)")
    }
  }

  @Test func aYoungOplogIsNotTrustedYet() throws {
    let found = try check("mongodb.oplog_window") { facts in
      facts.oplog = Self.ends(60)
      facts.members = []
      facts.oplogSize = Self.size(0.5)
    }
    #expect(found.verdict == .warn)
    #expect(found.evidence.contains("reaches back 1 min") && found.evidence.contains("young"))
  }

  @Test func theShortestOplogCounts() throws {
    let found = try check("mongodb.oplog_window") { facts in
      facts.members[2].oldest = Self.point(1_000_000 - 7200)
    }
    #expect(found.verdict == .warn)
    #expect(found.evidence.contains("2 h at db3:27017"))
  }

  @Test func aWindowWithoutItsSizeIsStillJudged() throws {
    let wide = try check("mongodb.oplog_window") { $0.oplogSize = .forbidden }
    #expect(wide.verdict == .ok)
    let narrow = try check("mongodb.oplog_window") {
      $0.oplogSize = .forbidden
      $0.oplog = Self.ends(600)
    }
    #expect(narrow.verdict == .warn)
    #expect(narrow.evidence.contains("can't be seen"))
    #expect(narrow.remedy?.contains("Double(990)") == true)
  }

  /// The reader tries every member, and a change stream doesn't need the entry.
  @Test func placesThatAreGoneHere() throws {
    var demands = Self.demands
    demands.start = OplogPosition(seconds: 700_000, increment: 1)
    let gone = try check("mongodb.start", demands) { _ in }
    #expect(gone.verdict == .fail)
    #expect(gone.evidence.contains("no longer holds 700000.1"))
    let elsewhere = try check("mongodb.start", demands) {
      $0.members[2].oldest = Self.point(600_000)
    }
    #expect(elsewhere.verdict == .warn)
    #expect(elsewhere.evidence.contains("db3:27017"))
    demands.snapshotsOnLoss = true
    #expect(try check("mongodb.start", demands) { _ in }.verdict == .warn)

    demands = Self.demands
    demands.checkpoint = Self.point(700_000)
    let kept = try check("mongodb.checkpoint", demands) {
      $0.checkpointEntry = .known(Self.point(800_000))
      $0.members[1].oldest = Self.point(600_000)
    }
    #expect(kept.verdict == .warn)
    demands.readsOplog = false
    #expect(
      try check("mongodb.checkpoint", demands) {
        $0.checkpointEntry = .known(Self.point(800_000))
      }.verdict == .warn)
    #expect(try check("mongodb.oplog_read", demands) { $0.oplog = .forbidden }.verdict == .ok)
  }

  @Test func checkpoints() throws {
    func checkpoint(
      _ seconds: UInt32, found: Answer<ResumePoint?>
    ) throws -> Diagnosis {
      var demands = Self.demands
      demands.checkpoint = Self.point(seconds)
      return try check("mongodb.checkpoint", demands) { $0.checkpointEntry = found }
    }
    let good = try checkpoint(999_000, found: .known(Self.point(999_000)))
    #expect(good.verdict == .ok)
    #expect(good.evidence.contains("16 min 40 s behind"))
    let gone = try checkpoint(700_000, found: .known(Self.point(800_000)))
    #expect(gone.verdict == .fail)
    #expect(gone.evidence.contains("800000.1"))
    #expect(gone.remedy?.contains("--from oldest --force") == true)
    let undone = try checkpoint(999_000, found: .known(Self.point(999_001)))
    #expect(undone.verdict == .fail)
    #expect(undone.evidence.contains("rolled it back"))
    #expect(try checkpoint(2_000_000, found: .known(nil)).verdict == .warn)
    let close = try checkpoint(801_000, found: .known(Self.point(801_000)))
    #expect(close.verdict == .warn)
    #expect(close.evidence.contains("16 min 40 s after the oldest"))
    #expect(try checkpoint(999_000, found: .notAsked("no time")).verdict == .warn)
  }
}
