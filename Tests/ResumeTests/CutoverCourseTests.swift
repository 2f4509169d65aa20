import Bridge
import Foundation
import Testing

@Suite struct CutoverCourseTests {
  @Test func `whatever operators ask for, each event is stored once`() {
    var changes: [CutoverPhase: Int] = [:]
    var (fills, rewinds) = (0, 0)
    let environment = ProcessInfo.processInfo.environment
    let first = environment["RESUME_SEED"].flatMap { UInt64($0) } ?? 0
    let count = environment["CUTOVER_COURSES"].flatMap { UInt64($0) } ?? 5_000
    for seed in first..<first + count {
      let course = CutoverCourse(seed: seed)
      if let fault = course.run() {
        let told = CutoverCourse(seed: seed, isTold: true)
        _ = told.run()
        Issue.record("seed \(seed): \(fault)\n\(told.story.joined(separator: "\n"))")
        return
      }
      changes.merge(course.changes, uniquingKeysWith: +)
      fills += course.fills
      rewinds += course.rewinds
    }
    // The courses came to every phase.
    guard count >= 1000 else { return }
    for phase in CutoverPhase.allCases {
      #expect(changes[phase, default: 0] > count / 50, "\(phase): \(changes)")
    }
    #expect(fills > count && rewinds > count / 50, "\(fills), \(rewinds)")
  }

  @Test(arguments: CutoverCourse.Flaw.allCases)
  func `what is wrong on purpose is found`(flaw: CutoverCourse.Flaw) {
    let found = (0..<2000).first { CutoverCourse(seed: $0, flaw: flaw).run() != nil }
    #expect(found != nil, "\(flaw)")
  }
}
