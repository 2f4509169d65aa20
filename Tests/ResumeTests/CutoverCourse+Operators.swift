import Bridge
import Oplog
import TestRandom

/// What operators do: anything, at any time, and a commit step by step.
extension CutoverCourse {
  enum Operation {
    /// Waits for the drain, and confirms.
    case committing(number: UInt64, deadline: Int64)
  }

  func operate() {
    if case .committing(let number, let deadline) = operation {
      complete(number, deadline)
      return
    }
    guard !isQuiet, chance(20) else { return }
    switch (record.phase, Int.random(in: 0..<8, using: &random)) {
    case (.bridge, _): ask(.dual)
    case (.dual, 0), (.committing, 0): ask(.cancel)
    case (.dual, 1...5), (.committing, 1...5): commit()
    case (.committed, 0...3): rollBack()
    case (.committed, 4) where chance(3): ask(.finalize)
    // Whatever does not apply is refused.
    case (_, 6): ask(.dual)
    case (_, 7): ask(.abort)
    default: break
    }
  }

  /// Repeats until nobody else was faster, as a command does.
  func ask(_ request: CutoverRequest) {
    guard var next = try? record.asked(request, by: "operator", reason: "", now: now) else {
      return
    }
    if flaw == .rollbackWithoutOverlap, case .rollback = request { next.rewind = nil }
    write(next)
  }

  private func commit() {
    guard record.phase == .dual || record.phase == .committing else { return }
    ask(.commit(within: .milliseconds(Self.timeout)))
    guard record.phase == .committing else { return }
    operation = .committing(number: record.number, deadline: now + Self.timeout)
  }

  private func complete(_ number: UInt64, _ deadline: Int64) {
    // Killed: the leader ends the commit.
    if !isQuiet, chance(40) {
      operation = nil
      return
    }
    guard record.phase == .committing else {
      operation = nil
      return
    }
    if now > deadline {
      ask(.abort)
      operation = nil
      return
    }
    guard let fence = record.fence, chance(3) else { return }
    if flaw == .confirmationBeforeTheDrain {
      record.isDrained = true
    } else {
      guard record.isDrained else { return }
    }
    // The verification.
    let from = record.begin ?? fence
    let missing = events.indices.first { index in
      let position = events[index].position
      return position.entry > from && position.entry <= fence && events[index].stored.isEmpty
        && !events[index].isExpired
    }
    if let missing, flaw != .confirmationBeforeTheDrain {
      fail("event \(missing) is missing when everything up to the fence \(fence) is settled")
    }
    ask(.confirm)
    operation = nil
  }

  private func rollBack() {
    guard record.phase == .committed, let fence = record.fence else { return }
    let margin = UInt32(max(10, 2 * Self.grace / 1000))
    var place = OplogPosition(seconds: fence.seconds - min(fence.seconds, margin), increment: 0)
    if let from = record.ranges.last?.from { place = max(place, from) }
    ask(.rollback(to: place))
  }
}
