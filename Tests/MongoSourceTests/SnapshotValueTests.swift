import MongoSource
import Oplog
import Testing

@Suite struct SnapshotValueTests {
  let start = ContinuousClock.now

  @Test func progressKnowsItsRateAndItsEnd() {
    var progress = SnapshotProgress()
    #expect(progress.fraction == nil)
    #expect(progress.remaining(at: start) == nil)
    progress.begin(documents: 1000, bytes: 10_000, at: start)
    progress.expect(documents: 9000, bytes: 90_000)
    #expect(progress.estimatedDocuments == 10_000)
    #expect(progress.fraction == 0.1)
    for second in 1...40 {
      progress.add(documents: 50, bytes: 500, at: start + .seconds(second))
    }
    #expect(progress.documents == 3000)
    let now = start + .seconds(40)
    // Old samples are ignored.
    #expect(progress.rate(at: now)?.documents == 50)
    #expect(progress.rate(at: now)?.bytes == 500)
    #expect(progress.remaining(at: now) == .seconds(140))
    #expect(progress.fraction == 0.3)
  }

  @Test func anEstimateThatIsTooSmallStaysWithinBounds() {
    var progress = SnapshotProgress()
    progress.begin(documents: 0, bytes: 0, at: start)
    progress.expect(documents: 10, bytes: 100)
    progress.add(documents: 50, bytes: 500, at: start + .seconds(5))
    #expect(progress.fraction == 1)
    #expect(progress.remaining(at: start + .seconds(5)) == .zero)
  }

  @Test func markersSurviveBeingStored() throws {
    let point = ResumePoint(position: OplogPosition(seconds: 7, increment: 8), term: 9)
    for lastID in [nil, [0x7F], [16, 1, 0, 0, 0], [2, 2, 0, 0, 0, 97, 0]] as [[UInt8]?] {
      for position in [point, ResumePoint(position: point.position)] {
        let marker = SnapshotMarker(
          position: position, isExact: lastID == nil,
          collectionUUID: Array(0..<16), namespace: "db.c", lastID: lastID, documents: 5,
          bytes: 1 << 40)
        #expect(SnapshotMarker(encoded: marker.encoded()) == marker)
      }
    }
    #expect(SnapshotMarker(encoded: []) == nil)
    #expect(SnapshotMarker(encoded: [5, 0, 0, 0, 0]) == nil)
  }
}
