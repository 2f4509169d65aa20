import BSON
import Logging
import MongoSource
import Oplog
import TestRandom
import Testing

/// What a reader does in which situation, without a server.
@Suite struct OplogTailMachineTests {
  /// Something that happens, and what the machine then wants. Expectations are in the words of `Shown`.
  struct Situation: CustomTestStringConvertible, Sendable {
    enum Input: Sendable {
      case answer(OplogTailMachine.Answer)
      case passes(Duration)
      case superseded
    }

    var testDescription: String
    var resume = Reply.point(5, 1)
    var errors: OplogTailMachine.DeliberateErrors = []
    var options = MongoSourceOptions(uri: "mongodb://a")
    var course: [(Input, String)] = []

    init(_ name: String, _ course: (Input, String)...) {
      testDescription = name
      self.course = course
    }

    init(_ name: String, from start: [(Input, String)], _ course: (Input, String)...) {
      testDescription = name
      self.course = start + course
    }

    func with(_ change: (inout Situation) -> Void) -> Situation {
      var situation = self
      change(&situation)
      return situation
    }
  }

  @Test(arguments: Self.situations)
  func theMachineWants(_ situation: Situation) {
    var machine = OplogTailMachine(
      from: situation.resume, generation: 3, settings: .init(situation.options),
      random: SeededRandom(seed: 1))
    machine.errors = situation.errors
    var now = ContinuousClock.now
    for (number, (input, expected)) in situation.course.enumerated() {
      switch input {
      case .passes(let duration): now = now.advanced(by: duration)
      case .superseded: machine.supersede()
      case .answer(let answer):
        let step = machine.next(answer, now: now)
        #expect(Shown.step(step) == expected, "step \(number)")
        for case .replied(_, let time) in step.notes { #expect(time == now) }
      }
    }
  }

  static let begin = (Situation.Input.answer(.begin), "connect")
  static let toFind: [(Situation.Input, String)] = [
    begin,
    (.answer(.connected(host: "a:1", isInitiated: true, unsupported: nil)), "host a:1; session"),
    (.answer(.done), "find 5.1 majority 100"),
  ]
  /// The entry at the resume position is queued.
  static let toReading: [(Situation.Input, String)] =
    toFind + [
      (reply([(5, 1)]), "deliver 1 to 5.1, last"),
      (.answer(.done), "getMore 42 1000"),
    ]
  static func reply(
    _ entries: [(UInt32, UInt32)] = [], term: Int64 = 7, cursor: Int64 = 42
  ) -> Situation.Input {
    .answer(.reply(Reply.make(entries, term: term, cursor: cursor)))
  }
  static func error(
    _ domain: MongoError.Domain = .network, code: UInt32 = 0, isTransient: Bool = true
  ) -> Situation.Input {
    .answer(
      .error(
        MongoError(
          domain: domain, code: code, message: "m", place: "p", isTransient: isTransient)))
  }
  static let reopens =
    "disconnect; reopening 1; warning: MongoDB: p: m (network); reopening the oplog at "
    + "5.1 (term 7), with retries; pause 20"
  static let ends =
    "disconnect; reopening 1; warning: MongoDB: getMore on local.oplog.rs at a:1: the server closed "
    + "the cursor (reply); reopening the oplog at"

  static let situations = opening + verifying + reading + interruptions + superseding + deliberate

  static let opening: [Situation] = [
    Situation(
      "a standalone server", begin,
      (
        .answer(.connected(host: "a:1", isInitiated: false, unsupported: "no oplog")),
        "disconnect; fail no oplog"
      ),
      (.answer(.done), "finish")),
    Situation(
      "a set that is not initiated", begin,
      (
        .answer(.connected(host: "a:1", isInitiated: false, unsupported: nil)),
        "disconnect; reopening 1; warning: MongoDB: server selection: a:1 belongs to a replica set "
          + "that is not initiated yet; run rs.initiate() (selection); reopening the oplog at "
          + "5.1 (term 7), with retries; pause 20"
      ),
      (.answer(.done), "connect")),
    Situation(
      "a connection string that is wrong", begin,
      (error(.configuration, isTransient: false), "disconnect; fail source.uri: m")),
    Situation(
      "a file with the connection string that may be half-written", begin,
      (
        error(.configuration),
        "disconnect; reopening 1; warning: MongoDB: p: m (configuration); reopening the oplog at "
          + "5.1 (term 7), with retries; pause 20"
      )),
    Situation("no session", begin, toFind[1], (error(), reopens), (.answer(.done), "connect")),
    Situation("no cursor", from: toFind, (error(), reopens), (.answer(.done), "connect")),
    Situation(
      "no majority reads", from: toFind,
      (
        error(.server, code: 148, isTransient: false),
        "disconnect; fail MongoDB: p: m (server error 148); the server runs with "
          + "enableMajorityReadConcern: false, so what is read could be rolled back. Enable it, or "
          + "set source.read_concern: local"
      )),
    Situation(
      "a refused login is retried: passwords are rotated", begin,
      (
        error(.authentication, isTransient: false),
        "disconnect; reopening 1; warning: MongoDB: p: m (authentication); reopening the oplog at "
          + "5.1 (term 7), with retries; pause 20"
      )),
    Situation("local reads", begin, toFind[1], (.answer(.done), "find 5.1 local 100")).with {
      $0.options.readConcernMajority = false
    },
    Situation(
      "a reply that isn't one", from: toFind,
      (
        .answer(.reply(Reply.raw([5, 0, 0, 0, 0]))),
        "disconnect; fail MongoDB sent an invalid batch: after 5.1 (term 7): a cursor reply of "
          + "5 bytes without id or batch"
      )),
  ]

  static let verifying: [Situation] = [
    Situation("the expected entry", from: toReading),
    Situation(
      "a full first batch", from: toFind,
      (reply((1...100).map { (5, $0) }), "deliver 100 to 5.100, more"),
      (.answer(.done), "getMore 42 1000")),
    Situation(
      "an entry whose term is unknown", from: toFind,
      (reply([(5, 1)], term: 8), "deliver 1 to 5.1, last")
    ).with {
      $0.resume.term = nil
      $0.course[2].1 = "find 5.1 majority 100"
    },
    Situation(
      "a later entry", from: toFind,
      (reply([(5, 2)]), "search 5.1 (term 7), found 5.2 (term 7), majority"),
      (
        .answer(.missing(.lost(Reply.lost))),
        "disconnect; fail \(Reply.lost)"
      )),
    Situation(
      "another term, and another member has it", from: toFind,
      (reply([(5, 1)], term: 8), "search 5.1 (term 7), found 5.1 (term 8), majority"),
      (
        .answer(.missing(.elsewhere("b:1"))),
        "disconnect; notice: continuing on b:1, which still has 5.1 (term 7); connect b:1"
      ),
      (.answer(.connected(host: "b:1", isInitiated: true, unsupported: nil)), "host b:1; session"),
      (.answer(.done), "find 5.1 majority 100"),
      (reply([(5, 1)]), "deliver 1 to 5.1, last"),
      (.answer(.done), "getMore 42 1000"),
      // After an error any member is tried.
      (error(), reopens), (.answer(.done), "connect")),
    Situation(
      "the search fails", from: toFind,
      (reply([(5, 2)]), "search 5.1 (term 7), found 5.2 (term 7), majority"),
      (error(), reopens), (.answer(.done), "connect")),
    Situation(
      "a member that lags, and comes", from: toFind,
      (reply(), "waiting for 5.1; getMore 42 100"),
      (.passes(.seconds(5)), ""),
      (reply(), "waiting for 5.1; getMore 42 100"),
      (reply([(5, 1), (5, 2)]), "deliver 2 to 5.2, last"),
      (.answer(.done), "getMore 42 1000")),
    Situation(
      "a member that lags for too long", from: toFind,
      (reply(), "waiting for 5.1; getMore 42 100"),
      (.passes(.milliseconds(5001)), ""),
      (
        reply(),
        "waiting for 5.1; warning: a:1 does not have 5.1 (term 7) yet; waiting for it; kill 42"
      ),
      (.answer(.done), "disconnect; connect"),
      toFind[1], toFind[2],
      (reply(), "waiting for 5.1; getMore 42 100"),
      (.passes(.milliseconds(5001)), ""),
      // Said once.
      (reply(), "waiting for 5.1; kill 42"),
      (error(), "disconnect; connect"),
      toFind[1], toFind[2],
      (reply([(5, 1)]), "deliver 1 to 5.1, last"),
      (.answer(.done), "getMore 42 1000"),
      (
        reply(),
        "recovered; info: reading the oplog again at a:1, after 5.1 (term 7); caughtUp; "
          + "getMore 42 1000"
      )),
    Situation(
      "a cursor that ends before the first entry", from: toFind,
      (reply(cursor: 0), ends + " 5.1 (term 7), with retries; pause 20")),
    Situation(
      "a cursor that ends with the first entry", from: toFind,
      (reply([(5, 1)], cursor: 0), "deliver 1 to 5.1, last"),
      (.answer(.done), ends + " 5.1 (term 7), with retries; pause 20")),
    Situation(
      "an error while waiting", from: toFind,
      (reply(), "waiting for 5.1; getMore 42 100"),
      (error(), reopens)),
  ]

  static let reading: [Situation] = [
    Situation(
      "entries, and none", from: toReading,
      (reply([(6, 1), (6, 2)]), "deliver 2 to 6.2, last"),
      (.answer(.done), "getMore 42 1000"),
      (reply(), "caughtUp; getMore 42 1000")),
    Situation(
      "full batches", from: toFind,
      (reply([(5, 1), (5, 2)]), "deliver 2 to 5.2, last"),
      (.answer(.done), "getMore 42 2"),
      (reply([(6, 1), (6, 2)]), "deliver 2 to 6.2, more"),
      (.answer(.done), "getMore 42 2")
    ).with { $0.options.batchSize = 2 },
    Situation(
      "a batch size of zero is one", from: toFind,
      (reply([(5, 1)]), "deliver 1 to 5.1, last"),
      (.answer(.done), "getMore 42 1")
    ).with { $0.options.batchSize = 0 },
    Situation(
      "a reply that MongoDB's limit may have cut", from: toReading,
      (.answer(.reply(Reply.large)), "deliver 1 to 6.1, more")),
    Situation(
      "silence", from: toReading,
      (.passes(.seconds(20)), ""),
      (reply([(6, 1)]), "deliver 1 to 6.1, last"),
      (.answer(.done), "getMore 42 1000"),
      (.passes(.seconds(30)), ""),
      (reply(), "caughtUp; getMore 42 1000"),
      (.passes(.milliseconds(1)), ""),
      (reply(), "caughtUp; kill 42"),
      (.answer(.done), "disconnect; connect"),
      toFind[1],
      (.answer(.done), "find 6.1 majority 100"),
      // Only what is queued already.
      (reply([(6, 1)]), "caughtUp; getMore 42 1000"),
      (reply([(6, 2)]), "deliver 1 to 6.2, last")),
    Situation(
      "a consumer that takes a batch late is no silence", from: toReading,
      (reply([(6, 1)]), "deliver 1 to 6.1, last"),
      (.passes(.seconds(100)), ""),
      (.answer(.done), "getMore 42 1000"),
      (reply(), "caughtUp; getMore 42 1000")),
    Situation(
      "a corrupt batch", from: toReading,
      (
        .answer(.reply(Reply.notOplog)),
        "disconnect; fail MongoDB sent an invalid batch: after 5.1 (term 7): near entry 1 of a "
          + "batch: not an oplog entry"
      )),
  ]

  static let interruptions: [Situation] = [
    Situation(
      "a broken connection", from: toReading,
      (error(), reopens),
      (.answer(.done), "connect"),
      (
        error(.selection),
        "disconnect; reopening 2; debug: MongoDB: p: m (selection) [attempt 2]; pause 40"
      ),
      (.answer(.done), "connect"),
      toFind[1], toFind[2],
      // Queued already: skipped. Recovered only when the cursor answers once more.
      (reply([(5, 1), (5, 2)]), "deliver 1 to 5.2, last"),
      (.answer(.done), "getMore 42 1000"),
      (
        reply([(5, 3)]),
        "recovered; info: reading the oplog again at a:1, after 5.2 (term 7); deliver 1 to 5.3, last"
      ),
      (.answer(.done), "getMore 42 1000"),
      // Pauses begin with the shortest again.
      (
        error(),
        "disconnect; reopening 1; warning: MongoDB: p: m (network); reopening the oplog at "
          + "5.3 (term 7), with retries; pause 20"
      )),
    Situation(
      "rolled back while the connection was broken", from: toReading,
      (error(), reopens), (.answer(.done), "connect"), toFind[1], toFind[2],
      (reply([(5, 1)], term: 8), "search 5.1 (term 7), found 5.1 (term 8), majority")),
    Situation(
      "a cursor that the server closes", from: toReading,
      (reply([(6, 1)], cursor: 0), "deliver 1 to 6.1, last"),
      (.answer(.done), ends + " 6.1 (term 7), with retries; pause 20")),
    Situation(
      "a cursor that the server closes without entries", from: toReading,
      (reply(cursor: 0), "caughtUp; " + ends + " 5.1 (term 7), with retries; pause 20")),
  ]

  static let superseding: [Situation] = [
    Situation("superseded at once", (.superseded, ""), (.answer(.begin), "finish")),
    Situation(
      "superseded while it connects", begin, (.superseded, ""), toFind[1], toFind[2],
      (reply([(5, 1)]), "deliver 1 to 5.1, last"),
      (.answer(.refused), "kill 42"),
      (.answer(.done), "finish")),
    Situation(
      "superseded while it waits for the first entry", from: toFind,
      (.superseded, ""),
      (reply(), "kill 42"), (.answer(.done), "finish")),
    Situation(
      "superseded while it reads", from: toReading,
      (.superseded, ""),
      (reply(), "caughtUp; kill 42"), (.answer(.done), "finish"), (.answer(.done), "finish")),
    Situation(
      "superseded, and the cursor can't be closed", from: toReading,
      (.superseded, ""),
      (reply(), "caughtUp; kill 42"), (error(), "disconnect; finish")),
    Situation(
      "a batch that nobody wants", from: toReading,
      (reply([(6, 1)]), "deliver 1 to 6.1, last"),
      (.answer(.refused), "kill 42"), (error(), "disconnect; finish")),
    Situation(
      "superseded while a batch waits for room", from: toReading,
      (reply([(6, 1)]), "deliver 1 to 6.1, last"),
      (.superseded, ""),
      (.answer(.done), "kill 42"), (.answer(.done), "finish")),
    Situation(
      "superseded in a pause", from: toReading,
      (error(), reopens), (.superseded, ""), (.answer(.done), "finish")),
    Situation(
      "superseded while it changes the member", from: toFind,
      (reply([(5, 2)]), "search 5.1 (term 7), found 5.2 (term 7), majority"),
      (.superseded, ""),
      (
        .answer(.missing(.elsewhere("b:1"))),
        "disconnect; notice: continuing on b:1, which still has 5.1 (term 7); finish"
      )),
  ]

  static let deliberate: [Situation] = [
    Situation(
      "the term is ignored", from: toFind,
      (reply([(5, 1)], term: 8), "deliver 1 to 5.1, last")
    ).with { $0.errors = .ignoresTerm },
    Situation(
      "the term is ignored, the position isn't", from: toFind,
      (reply([(5, 2)]), "search 5.1 (term 7), found 5.2 (term 7), majority")
    ).with { $0.errors = .ignoresTerm },
    Situation(
      "it starts behind", begin, toFind[1],
      (.answer(.done), "find 5.2 majority 100"),
      (reply([(6, 1)], term: 8), "deliver 1 to 6.1, last")
    ).with { $0.errors = .startsBehind },
  ]

  /// Batches hold what the server sent, under the reader's generation.
  @Test func batchesHoldTheReply() throws {
    var machine = OplogTailMachine(
      from: Reply.point(5, 1), generation: 3, settings: .init(MongoSourceOptions(uri: "")))
    let now = ContinuousClock.now
    _ = machine.next(.begin, now: now)
    _ = machine.next(.connected(host: "a", isInitiated: true, unsupported: nil), now: now)
    _ = machine.next(.done, now: now)
    let step = machine.next(.reply(Reply.make([(5, 1), (5, 2)])), now: now)
    guard case .deliver(let batch, _) = step.request else {
      Issue.record("\(step)")
      return
    }
    #expect(batch.generation == 3)
    #expect(batch.operationTime == OplogPosition(seconds: 900, increment: 1))
    #expect(batch.last == Reply.point(5, 2))
    #expect(machine.resume == batch.last)
    try withExtendedLifetime(batch) {
      var entries = batch.entries()
      var points: [ResumePoint] = []
      while let element = try entries.next() {
        points.append(try #require(try ResumePoint(BSONView(element.value))))
      }
      #expect(points == [Reply.point(5, 1), Reply.point(5, 2)])
    }
  }

  @Test func pausesGrow() {
    var machine = OplogTailMachine(
      from: Reply.point(5, 1), generation: 1, settings: .init(MongoSourceOptions(uri: "")))
    let error = MongoError(domain: .network, message: "m", place: "p", isTransient: true)
    var pauses: [String] = []
    var step = machine.next(.begin, now: .now)
    for _ in 0..<8 {
      step = machine.next(.error(error), now: .now)
      pauses.append(Shown.request(step.request))
      step = machine.next(.done, now: .now)
    }
    // The longest pauses, a second's, begin at half of that: below the 640 ms of the step before.
    #expect(Array(pauses.prefix(5)) == [20, 40, 80, 160, 320].map { "pause \($0)" })
    #expect(pauses.suffix(3).allSatisfy { $0 == "pause 640" || $0 == "pause 1000" })
  }
}

/// Replies to find and getMore.
enum Reply {
  static func point(_ seconds: UInt32, _ increment: UInt32) -> ResumePoint {
    ResumePoint(position: OplogPosition(seconds: seconds, increment: increment), term: 7)
  }

  static let lost = PositionLost(
    reason: .rolledBack, expected: point(5, 1), found: point(5, 2), oldest: point(1, 1),
    newest: point(9, 1), host: "a:1")

  static func raw(_ bytes: [UInt8]) -> MongoReply {
    bytes.withUnsafeBytes { MongoReply(copying: $0) }
  }

  static func make(
    _ entries: [(UInt32, UInt32)], term: Int64 = 7, cursor: Int64 = 42, padding: Int = 0
  ) -> MongoReply {
    build(cursor: cursor) { writer in
      for (i, (seconds, increment)) in entries.enumerated() {
        let entry = writer.beginDocument(index: i)
        writer.append(key: "op", string: "i")
        writer.append(key: "ts", timestamp: seconds, increment: increment)
        writer.append(key: "t", int64: term)
        if padding > 0 {
          [UInt8](repeating: 120, count: padding).withUnsafeBytes {
            writer.append(key: "x", string: $0)
          }
        }
        writer.endDocument(entry)
      }
    }
  }

  static let large = make([(6, 1)], padding: 8 << 20)
  static let notOplog = build(cursor: 42) { writer in
    let entry = writer.beginDocument(index: 0)
    writer.endDocument(entry)
  }

  private static func build(cursor: Int64, _ body: (inout ByteWriter) -> Void) -> MongoReply {
    var writer = ByteWriter()
    let reply = writer.beginDocument()
    let inner = writer.beginDocument(key: "cursor")
    let array = writer.beginArray(key: "nextBatch")
    body(&writer)
    writer.endDocument(array)
    writer.append(key: "id", int64: cursor)
    writer.endDocument(inner)
    writer.append(key: "operationTime", timestamp: 900, increment: 1)
    writer.endDocument(reply)
    return MongoReply(copying: writer.bytes)
  }
}

/// Steps in words.
enum Shown {
  static func step(_ step: OplogTailMachine.Step) -> String {
    (step.notes.map(note) + [request(step.request)]).joined(separator: "; ")
  }

  static func note(_ note: OplogTailMachine.Note) -> String {
    switch note {
    case .disconnect: "disconnect"
    case .host(let host): "host \(host)"
    case .replied(.waiting(let position), _): "waiting for \(position)"
    case .replied(let phase, _): "\(phase)"
    case .reopening(_, let attempt): "reopening \(attempt)"
    case .recovered: "recovered"
    case .log(let line):
      "\(line.level): \(line)" + (line.metadata.map { " [attempt \($0["attempt"] ?? "")]" } ?? "")
    }
  }

  static func request(_ request: OplogTailMachine.Request) -> String {
    switch request {
    case .connect(let preferred): "connect" + (preferred.map { " \($0)" } ?? "")
    case .startSession: "session"
    case .find(let position, let majority, let size):
      "find \(position) \(majority ? "majority" : "local") \(size)"
    case .getMore(let cursor, let size): "getMore \(cursor) \(size)"
    case .search(let point, let found, let majority):
      "search \(point), found \(found.map { "\($0)" } ?? "nothing"), "
        + (majority ? "majority" : "local")
    case .deliver(let batch, let more):
      "deliver \(batch.count) to \(batch.last.position), \(more ? "more" : "last")"
    case .killCursor(let cursor): "kill \(cursor)"
    case .pause(let pause): "pause \(ceiling(of: pause))"
    case .fail(let failure): "fail \(failure)"
    case .finish: "finish"
    }
  }

  /// A pause is between half of its ceiling and that; in milliseconds.
  private static func ceiling(of pause: Duration) -> Int {
    var ceiling = 20
    while ceiling < 1000 && .milliseconds(ceiling) < pause { ceiling *= 2 }
    return min(ceiling, 1000)
  }
}
