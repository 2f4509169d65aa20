import Foundation
import Testing

@Suite struct EmptiedStreamTests {
  @Test func `nothing is lost, and doubled only where that is known or reported`() {
    var (doubts, lookUps, counts) = (0, 0, 0)
    let environment = ProcessInfo.processInfo.environment
    let first = environment["RESUME_SEED"].flatMap { UInt64($0) } ?? 0
    let count = environment["RESUME_COURSES"].flatMap { UInt64($0) } ?? 5_000
    for seed in first..<first + count {
      let course = EmptiedStreamCourse(seed: seed)
      if let fault = course.run() {
        let told = EmptiedStreamCourse(seed: seed, isTold: true)
        _ = told.run()
        Issue.record("seed \(seed): \(fault)\n\(told.story.joined(separator: "\n"))")
        return
      }
      doubts += course.doubts
      lookUps += course.lookUps
      counts += course.counts
    }
    // It has seen what it is for.
    #expect(doubts > 10 && lookUps > 200 && counts > 400, "\(doubts), \(lookUps), \(counts)")
  }
}
