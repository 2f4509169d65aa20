import Bridge
import NIOHTTP1
import Synchronization
import Testing

@Suite("Questions of /explain: one after the other, few, and none for long")
struct ExplainDeskTests {
  @Test func asksForOnePosition() throws {
    for (query, position) in [
      ("position=1.2", "1.2"), ("position=1.2.3", "1.2.3"), ("position=%31%2E2", "1.2"),
      ("&position=4294967295.4294967295.4294967295&", "4294967295.4294967295.4294967295"),
    ] {
      #expect(try ExplainDesk.position(in: Substring(query)).get() == position)
    }
    for query in [
      "", "position", "position=", "position=1", "position=1.", "position=.1", "position=1.2.3.4",
      "position=4294967296.1", "position=+1.2", "position=1.2 ", "position=1.2%", "position=1.2%0A",
      "position=\u{661}.2", "position=1.2&position=1.2", "Position=1.2", "position=1.2&x=1", "=",
    ] {
      #expect(throws: ExplainDesk.Refusal.self, "\(query)") {
        try ExplainDesk.position(in: Substring(query)).get()
      }
    }
  }

  private actor Running {
    private var count = 0
    func enter() -> Int {
      count += 1
      return count
    }
    func leave() { count -= 1 }
  }

  private static func page(_ text: String) -> HTTPPage { .text(.ok, text) }

  @Test func answersOneAfterTheOtherAndRefusesMore() async {
    let desk = ExplainDesk(limit: .seconds(600))
    let running = Running()
    let (begun, begin) = AsyncStream.makeStream(of: Void.self)
    let (gate, open) = AsyncStream.makeStream(of: Void.self)
    await withTaskGroup(of: Int.self) { group in
      // The first one is held until all are asked.
      group.addTask {
        let page = await desk.answer {
          begin.yield()
          for await _ in gate { break }
          return Self.page("first")
        }
        return Int(page.status.code)
      }
      for await _ in begun { break }
      for _ in 0..<20 {
        group.addTask {
          let page = await desk.answer {
            let together = await running.enter()
            await Task.yield()
            await running.leave()
            #expect(together == 1)
            return Self.page("next")
          }
          return Int(page.status.code)
        }
      }
      // Of twenty, those that find no room are refused while the first one still runs.
      var codes: [Int] = []
      while codes.count < 20 - ExplainDesk.mostWaiting, let code = await group.next() {
        codes.append(code)
      }
      #expect(codes.allSatisfy { $0 == 503 })
      open.yield()
      var rest: [Int] = []
      for await code in group { rest.append(code) }
      #expect(rest.count == ExplainDesk.mostWaiting + 1 && rest.allSatisfy { $0 == 200 })
    }
    #expect(await desk.answer { Self.page("again") }.status == .ok)
  }

  @Test func givesUpWhatTakesTooLong() async {
    let desk = ExplainDesk(limit: .milliseconds(20))
    let (ended, end) = AsyncStream.makeStream(of: Bool.self)
    let page = await desk.answer {
      while !Task.isCancelled { try? await Task.sleep(for: .seconds(600)) }
      end.yield(true)
      return Self.page("too late")
    }
    #expect(page.status == .gatewayTimeout)
    for await isCancelled in ended {
      #expect(isCancelled)
      break
    }
    // Whose client has gone, too.
    let patient = ExplainDesk(limit: .seconds(600))
    let (begun, begin) = AsyncStream.makeStream(of: Void.self)
    let asking = Task {
      await patient.answer {
        begin.yield()
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(600)) }
        return Self.page("nobody")
      }
    }
    for await _ in begun { break }
    asking.cancel()
    #expect(await asking.value.status == .serviceUnavailable)
    #expect(await patient.answer { Self.page("next") }.status == .ok)
  }
}

@Suite("Pages that many ask for")
struct RecentPageTests {
  @Test func aCrowdSharesWhatWasWrittenLast() {
    let made = Atomic(0)
    let recent = RecentPage { .text(.ok, "\(made.add(1, ordering: .relaxed).newValue)") }
    let begin = ContinuousClock.now
    let crowd = (0..<24).map { recent.page(at: begin + .milliseconds(4 * $0)).body }
    let most = RecentPage.mostInWindow
    #expect(crowd == (1...24).map { "\(min($0, most))" })
    // Who asks alone always gets a new one.
    #expect(recent.page(at: begin + .milliseconds(100)).body == "\(most + 1)")
    #expect(recent.page(at: begin + .milliseconds(150)).body == "\(most + 2)")
    #expect(recent.page(at: begin + .seconds(9)).body == "\(most + 3)")
  }
}
