import MongoSource

extension OplogTailMachineTests {
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
}
