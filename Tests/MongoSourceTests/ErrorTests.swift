import MongoSource
import Oplog
import Testing

@Suite struct ErrorTests {
  @Test(arguments: [
    "mongodb://app:hunter2secret@127.0.0.1:99999/",
    "mongodb://app:hunter2secret@@127.0.0.1/",
    "mongodb://app:secret@hunter2@127.0.0.1/",
    "mongodb://app:hunter2/secret@127.0.0.1/",
    "mongodb://app:hunter2secret@",
    "postgres://app:hunter2secret@127.0.0.1/",
    "mongodb+srv://app:hunter2secret@127.0.0.1:27017/",
    "hunter2secret",
    "",
  ])
  func aWrongConnectionStringIsRefusedWithoutItsPassword(uri: String) {
    let options = MongoSourceOptions(uri: uri)
    let error = #expect(throws: MongoError.self) { try options.validate() }
    #expect(error?.domain == .configuration)
    #expect(error?.isTransient == false)
    #expect(error?.message.isEmpty == false)
    #expect(error?.description.contains("hunter2") == false)
  }

  @Test func optionsDontShowThePassword() {
    let options = MongoSourceOptions(uri: "mongodb://app:p%40ss@db1,db2/?replicaSet=rs0")
    #expect("\(options)".contains("***@db1,db2"))
    #expect(!"\(options)".contains("p%40ss"))
    #expect(!String(reflecting: options).contains("p%40ss"))
  }

  @Test func rightConnectionStringsAreTaken() throws {
    for uri in [
      "mongodb://127.0.0.1", "mongodb://a:b@h1:1,h2:2/?replicaSet=rs0&readPreference=secondary",
      "mongodb://h/?socketTimeoutMS=500&appName=other",
    ] {
      try MongoSourceOptions(uri: uri).validate()
    }
  }

  @Test func aLostPositionTellsTheMissingRangeAndTheRemedy() {
    let lost = PositionLost(
      reason: .rolledOver, expected: point(100, 1), found: point(200, 5), oldest: point(200, 5),
      newest: point(300, 9), host: "db1:27017", unasked: ["db2:27017"])
    let text = SourceFailure.positionLost(lost).description
    for part in ["100.1", "200.5", "300.9", "db1:27017", "snapshot", "--from", "db2:27017"] {
      #expect(text.contains(part), "\(part) is missing in: \(text)")
    }
  }

  @Test func aRollbackIsToldFromARollover() {
    let lost = PositionLost(
      reason: .rolledBack, expected: point(250, 1), found: point(251, 1), oldest: point(200, 5),
      newest: point(300, 9), host: "db1:27017")
    #expect(lost.description.contains("rolled that entry back"))
    #expect(lost.description.contains("251.1 (term 1)"))
    #expect(!lost.description.contains("Not searched"))
  }

  @Test func resumePointsCompareTermsWhereBothAreKnown() {
    let position = OplogPosition(seconds: 1, increment: 2)
    let known = ResumePoint(position: position, term: 3)
    #expect(known.matches(ResumePoint(position: position, term: 3)))
    #expect(!known.matches(ResumePoint(position: position, term: 4)))
    #expect(known.matches(ResumePoint(position: position)))
    #expect(ResumePoint(position: position).matches(known))
    #expect(
      !known.matches(ResumePoint(position: OplogPosition(seconds: 1, increment: 3), term: 3)))
  }

  private func point(_ seconds: UInt32, _ increment: UInt32) -> ResumePoint {
    ResumePoint(position: OplogPosition(seconds: seconds, increment: increment), term: 1)
  }
}

@Suite struct AdviceTests {
  @Test(arguments: [
    ("TLS handshake failed: certificate verify failed (10): certificate has expired", "expired"),
    ("TLS handshake failed: certificate verify failed (9): not yet valid", "clocks"),
    ("TLS handshake failed: certificate verify failed (62): hostname mismatch", "another name"),
    ("TLS handshake failed: certificate verify failed (64): IP address mismatch", "another name"),
    ("TLS handshake failed: certificate verify failed (19): self-signed", "tlsCAFile"),
    ("TLS handshake failed: certificate verify failed", "tlsCAFile"),
  ])
  func aFailedHandshakeNamesItsRemedy(message: String, words: String) {
    #expect(MongoAdvice.handshake(message)?.contains(words) == true)
  }

  @Test func aClosedConnectionIsJudgedByHowItWasMade() {
    let message = "No suitable servers found: [connection closed calling hello on 'db:27017']"
    #expect(MongoAdvice.closed(message, .none)?.contains("tls=true") == true)
    #expect(MongoAdvice.closed(message, .server)?.contains("may require a client") == true)
    #expect(MongoAdvice.closed(message, .mutual)?.contains("rejected") == true)
    #expect(MongoAdvice.closed("connection refused calling hello", .none) == nil)
    #expect(MongoAdvice.handshake(message) == nil)
  }

  @Test func certificatesThatCannotBeReadAreNamed() {
    for option in ["tlsCAFile", "tlsCertificateKeyFile"] {
      let options = MongoSourceOptions(
        uri: "mongodb://app:hunter2secret@127.0.0.1/?tls=true&\(option)=/nowhere/file.pem")
      let error = #expect(throws: MongoError.self) { try options.validate() }
      #expect(error?.domain == .configuration)
      #expect(error?.description.contains("/nowhere/file.pem") == true)
      #expect(error?.description.contains("hunter2") == false)
    }
  }
}

@Suite struct BackoffTests {
  @Test func doublesWithJitterUpToALimit() {
    var backoff = Backoff()
    var ceiling = Backoff.shortest
    for _ in 0..<40 {
      let pause = backoff.next()
      #expect(pause <= ceiling)
      #expect(pause >= ceiling / 2)
      ceiling = min(ceiling * 2, .seconds(1))
    }
    #expect(ceiling == .seconds(1))
    #expect(backoff.failures == 40)
  }

  @Test func beginsAnewAfterSuccess() {
    var backoff = Backoff()
    for _ in 0..<10 { _ = backoff.next() }
    backoff.reset()
    #expect(backoff.failures == 0)
    #expect(backoff.next() <= Backoff.shortest)
  }
}
