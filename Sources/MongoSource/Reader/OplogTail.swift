internal import Logging
internal import Oplog

/// The reader thread's work for one `restart`: open, verify and read, and reopen after an error.
///
/// Uses raw commands instead of libmongoc's cursor: a reply is passed on whole without copying its
/// entries, and the end of a batch is known, so nothing waits for an entry that isn't there yet.
struct OplogTail {
  typealias Mailbox = ReaderMailbox<OplogBatch, ResumePoint>

  private let mailbox: Mailbox
  private let generation: UInt64
  private var resume: ResumePoint
  /// The entry at `resume` is already queued.
  private var resumeIsQueued = false
  /// A member that has the entry at `resume`, which another one lacked.
  private var preferredHost: String?
  private var backoff = Backoff()
  /// Reading is interrupted, and a warning was logged.
  private var outage = false

  /// Small, so that the first entry is verified and published early.
  private static let firstBatch = 100
  /// A reply this large may have been cut by MongoDB's limit of 16 MB.
  private static let fullReply = 8 << 20

  /// Why a cursor ended. `follow` always throws one of these.
  private enum End: Error {
    /// `restart` or `stop`.
    case superseded
    /// Retry with a new cursor, after a pause.
    case interrupted(MongoError)
    /// No error, but a new cursor is needed.
    case stale
    /// This member has the entry.
    case elsewhere(String)
    case failed(SourceFailure)
  }

  init(_ mailbox: Mailbox, generation: UInt64, from point: ResumePoint) {
    self.mailbox = mailbox
    self.generation = generation
    self.resume = point
  }

  /// Returns when the generation has ended or failed.
  ///
  /// - Parameter kept: a connection to begin with; afterwards the one in use, if nothing is wrong with it.
  mutating func run(_ kept: inout MongoConnection?) {
    while mailbox.isCurrent(generation) {
      do {
        try follow(&kept)
      } catch {
        switch error {
        case .superseded: return
        case .stale: continue
        case .elsewhere(let host):
          mailbox.logger.notice("continuing on \(host), which still has \(resume)")
          preferredHost = host
        case .failed(let failure):
          mailbox.fail(failure, generation: generation)
          return
        case .interrupted(let error):
          preferredHost = nil
          if let failure = Self.failure(error) {
            mailbox.fail(failure, generation: generation)
            return
          }
          retryLater(error)
        }
      }
    }
  }

  private mutating func retryLater(_ error: MongoError) {
    let pause = backoff.next()
    let attempt = backoff.failures
    mailbox.update(generation: generation) { status in
      status.phase = .reopening(reason: error.description, attempt: attempt)
      status.lastError = error
    }
    if outage {
      mailbox.logger.debug("\(error)", metadata: ["attempt": "\(attempt)"])
    } else {
      outage = true
      mailbox.logger.warning("\(error); reopening the oplog at \(resume), with retries")
    }
    mailbox.pause(pause, generation: generation)
  }

  /// The failure for errors that a retry can't fix.
  private static func failure(_ error: MongoError) -> SourceFailure? {
    if error.domain == .configuration, !error.isTransient {
      return .unsupported("source.uri: \(error.message)")
    }
    if error.domain == .server, error.code == ServerCode.readConcernMajorityNotEnabled {
      return .unsupported(
        "\(error); the server runs with enableMajorityReadConcern: false, so what is read could "
          + "be rolled back. Enable it, or set source.read_concern: local")
    }
    return nil
  }

  /// Opens a cursor and reads it to its end.
  private mutating func follow(_ kept: inout MongoConnection?) throws(End) {
    let old = kept
    kept = nil
    let connection: MongoConnection
    if let old {
      connection = old
    } else {
      connection = try attempt { () throws(MongoError) in try MongoConnection(mailbox.options) }
    }
    let server = try selectServer(connection)
    mailbox.update(generation: generation) { $0.host = server.host }
    try attempt { () throws(MongoError) in try connection.startSession() }

    let first = try tail(connection, server)
    do {
      try proceed(open(first, connection, server), connection, server)
    } catch {
      switch error {
      case .superseded, .stale:
        // Best effort: the server drops an idle cursor after ten minutes.
        let isClosed: Void? = try? connection.killCursor(first.reply.cursor, on: server)
        if case .superseded = error, isClosed != nil { kept = connection }
      case .interrupted, .elsewhere, .failed: break
      }
      throw error
    }
  }

  /// Reads on after the verified first batch. Never returns normally.
  private mutating func proceed(
    _ first: Batch, _ connection: MongoConnection, _ server: MongoConnection.Server
  ) throws(End) {
    try deliver(first)
    let cursor = first.reply.cursor
    let batchSize = max(mailbox.options.batchSize, 1)
    var lastEntry = ContinuousClock.now
    while mailbox.isCurrent(generation) {
      guard cursor != 0 else { throw .interrupted(Self.cursorEnded(server.host)) }
      let batch = try read(batchSize: batchSize) { () throws(MongoError) in
        try connection.more(cursor, batch: batchSize, on: server)
      }
      if outage { recovered(server.host) }
      if batch.survey.count > 0 {
        try deliver(batch)
        lastEntry = .now
      } else {
        mailbox.update(generation: generation) { status in
          status.phase = .caughtUp
          status.lastReplyAt = .now
        }
        if ContinuousClock.now - lastEntry > mailbox.options.longestSilence { throw .stale }
      }
      guard batch.reply.cursor != 0 else { throw .interrupted(Self.cursorEnded(server.host)) }
    }
    throw .superseded
  }

  private mutating func recovered(_ host: String) {
    outage = false
    backoff.reset()
    mailbox.update(generation: generation) { $0.reopens += 1 }
    mailbox.logger.info("reading the oplog again at \(host), after \(resume)")
  }

  private func selectServer(_ connection: MongoConnection) throws(End) -> MongoConnection.Server {
    var server = try attempt { () throws(MongoError) in try connection.selectServer() }
    if let preferredHost {
      let members = try attempt { () throws(MongoError) in try connection.members() }
      server = members.first { $0.host == preferredHost } ?? server
    }
    if let reason = server.unsupported { throw .failed(.unsupported(reason)) }
    if server.hello.setName == nil {
      throw .interrupted(
        MongoError(
          domain: .selection,
          message:
            "\(server.host) belongs to a replica set that is not initiated yet; run rs.initiate()",
          place: "server selection", isTransient: true))
    }
    return server
  }

  private func tail(
    _ connection: MongoConnection, _ server: MongoConnection.Server
  ) throws(End) -> Batch {
    let majority = mailbox.options.readConcernMajority
    return try read(batchSize: Self.firstBatch) { () throws(MongoError) in
      try connection.tail(
        from: resume.position, majority: majority, batch: Self.firstBatch, on: server)
    }
  }

  /// Waits for the first entries and verifies that the first one is the expected entry.
  private mutating func open(
    _ first: Batch, _ connection: MongoConnection, _ server: MongoConnection.Server
  ) throws(End) -> Batch {
    var batch = first
    let opened = ContinuousClock.now
    while batch.survey.count == 0 {
      // This member or the majority lags. That doesn't mean that the position is lost.
      let cursor = batch.reply.cursor
      guard mailbox.isCurrent(generation) else { throw .superseded }
      guard cursor != 0 else { throw .interrupted(Self.cursorEnded(server.host)) }
      let position = resume.position
      mailbox.update(generation: generation) { status in
        status.phase = .waiting(for: position)
        status.lastReplyAt = .now
      }
      if ContinuousClock.now - opened > mailbox.options.longestLag {
        if !outage {
          outage = true
          mailbox.logger.warning("\(server.host) does not have \(resume) yet; waiting for it")
        }
        throw .stale
      }
      batch = try read(batchSize: Self.firstBatch) { () throws(MongoError) in
        try connection.more(cursor, batch: Self.firstBatch, on: server)
      }
    }
    guard let found = batch.survey.first, resume.matches(found) else {
      throw try diagnose(batch.survey.first, connection, server)
    }
    return batch
  }

  /// The entry at `resume` is missing: searches the other members for it.
  private func diagnose(
    _ found: ResumePoint?, _ connection: MongoConnection, _ server: MongoConnection.Server
  ) throws(End) -> End {
    let majority = mailbox.options.readConcernMajority
    let missing = try attempt { () throws(MongoError) in
      try connection.search(for: resume, found: found, majority: majority, besides: server)
    }
    switch missing {
    case .elsewhere(let host): return .elsewhere(host)
    case .lost(let lost): return .failed(.positionLost(lost))
    }
  }

  // MARK: Batches

  /// A parsed reply.
  private struct Batch {
    var bytes: MongoReply
    var reply: CursorReply
    var survey: CursorReply.Survey
    /// The server had no more entries when it answered.
    var isLast: Bool
  }

  private func read(
    batchSize: Int, _ command: () throws(MongoError) -> MongoReply
  ) throws(End) -> Batch {
    let bytes = try attempt(command)
    do {
      let reply = try CursorReply(bytes.bytes)
      let survey = try reply.survey()
      let isLast = survey.count < batchSize && bytes.bytes.count < Self.fullReply
      return Batch(bytes: bytes, reply: reply, survey: survey, isLast: isLast)
    } catch {
      throw .failed(.corruptReply("after \(resume): \(error)"))
    }
  }

  /// Queues a batch with entries, without the first if that is already queued.
  private mutating func deliver(_ batch: Batch) throws(End) {
    guard let last = batch.survey.last else { return }
    let skipFirst = resumeIsQueued && batch.survey.first?.position == resume.position
    resume = last
    resumeIsQueued = true
    guard batch.survey.count > (skipFirst ? 1 : 0) else {
      mailbox.update(generation: generation) { status in
        status.phase = .caughtUp
        status.lastReplyAt = .now
      }
      return
    }
    let oplogBatch = OplogBatch(
      batch.bytes, parsed: batch.reply, count: batch.survey.count, last: last,
      generation: generation, skipFirst: skipFirst)
    guard mailbox.deliver(oplogBatch, moreWaits: !batch.isLast) else { throw .superseded }
  }

  private func attempt<T>(_ body: () throws(MongoError) -> T) throws(End) -> T {
    do {
      return try body()
    } catch {
      throw .interrupted(error)
    }
  }

  private static func cursorEnded(_ host: String) -> MongoError {
    MongoError(
      domain: .reply, message: "the server closed the cursor",
      place: "getMore on local.oplog.rs at \(host)", isTransient: true)
  }
}
