internal import Logging
internal import Oplog

/// The reader's thread at work for one `restart`: open, read; after an error, again.
///
/// A stream is opened at a time and gone on with after resume tokens: a time brings every event of
/// it again, a token is exact. Raw commands for the reasons that `OplogTail` has.
struct ChangeStreamTail {
  typealias Mailbox = ReaderMailbox<ChangeStreamBatch, Start>

  struct Start: Sendable {
    var point: ResumePoint
    var token: ResumeToken?
  }

  private let mailbox: Mailbox
  private let scope: ChangeStreamOptions.Scope
  private let generation: UInt64
  private let start: ResumePoint
  /// The place to go on after; nil: begin at `start`.
  private var token: ResumeToken?
  /// Nothing has been read after `token` yet: it is the caller's.
  private var tokenIsGiven: Bool
  /// No event before this comes any more.
  private var reached: OplogPosition
  /// The last batch that was queued may have been cut short, so its user waits for what follows.
  private var mayBeCut = false

  private var backoff = Backoff()
  /// Reading is interrupted, which the log was told.
  private var outage = false
  /// How long a server may be silent. It grows where a server needs longer to find the next event.
  private var patience: Duration
  /// The present cursor has been answered.
  private var hasAnswered = false
  private var search = MemberSearch()

  private static let longestPatience = Duration.seconds(300)
  /// Small, so that the first events are published soon.
  private static let firstBatch = 100
  /// A reply this large may have been ended by MongoDB's limit of 16 MB.
  private static let fullReply = 8 << 20

  /// What ends a cursor. `follow` ends in no other way.
  private enum End: Error {
    /// `restart` or `stop`.
    case superseded
    /// To be overcome by opening another.
    case interrupted(MongoError)
    /// Nothing to worry about, but another is due.
    case stale
    /// This member doesn't have the place; the others are named.
    case lost(PositionLost, others: [String])
    case failed(SourceFailure)
  }

  init(
    _ mailbox: Mailbox, _ scope: ChangeStreamOptions.Scope, generation: UInt64, from start: Start
  ) {
    self.mailbox = mailbox
    self.scope = scope
    self.generation = generation
    self.start = start.point
    reached = start.point.position
    patience = mailbox.options.replyTimeout
    // A token of a later place, or in the middle of the entry at `start`, would leave events out.
    if let token = start.token, let position = token.position,
      position < reached || (position == reached && token.isHighWaterMark)
    {
      self.token = token
    }
    tokenIsGiven = token != nil
  }

  /// Returns when the generation has ended or failed.
  ///
  /// - Parameter kept: as `OplogTail.run` has it.
  mutating func run(_ kept: inout MongoConnection?) {
    while mailbox.isCurrent(generation) {
      do {
        try follow(&kept)
      } catch {
        switch error {
        case .superseded: return
        case .stale: continue
        case .lost(let lost, _) where tokenIsGiven && lost.reason == .rolledOver:
          mailbox.logger.notice(
            "the oplog has grown past \(describe(token)); starting at \(start.position) without it")
          dropToken()
        case .lost(let lost, let others):
          search.begin(lost, others)
          guard lookElsewhere() else { return }
        case .failed(let failure):
          mailbox.fail(failure, generation: generation)
          return
        case .interrupted(let error):
          if error.domain == .configuration, !error.isTransient {
            mailbox.fail(.unsupported("source.uri: \(error.message)"), generation: generation)
            return
          }
          if search.isOn {
            // Whoever asks around doesn't wait.
            search.noteUnreachable()
            guard lookElsewhere() else { return }
          } else {
            search.forget()
            retryLater(error)
          }
        }
      }
    }
  }

  private mutating func dropToken() {
    token = nil
    tokenIsGiven = false
  }

  private mutating func lookElsewhere() -> Bool {
    if let lost = search.next() {
      mailbox.fail(.positionLost(lost), generation: generation)
      return false
    }
    return true
  }

  private mutating func retryLater(_ error: MongoError) {
    if error.domain == .network, !hasAnswered {
      patience = min(patience * 2, Self.longestPatience)
    }
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
      mailbox.logger.warning("\(error); reopening the change stream at \(reached) until it works")
    }
    mailbox.pause(pause, generation: generation)
  }

  // MARK: One cursor

  /// Opens a cursor and reads it to its end.
  private mutating func follow(_ kept: inout MongoConnection?) throws(End) {
    hasAnswered = true  // A connection that can't be made says nothing of how long an answer takes.
    let patience = patience
    let old = patience == mailbox.options.replyTimeout ? kept : nil
    kept = nil
    let connection: MongoConnection
    if let old {
      connection = old
    } else {
      connection = try attempt { () throws(MongoError) in
        try MongoConnection(mailbox.options, replyTimeout: patience)
      }
    }
    let server = try selectServer(connection)
    mailbox.update(generation: generation) { $0.host = server.host }
    let version = try attempt { () throws(MongoError) in
      try connection.startSession()
      return try connection.version(server)
    }
    let expanded = ChangeStreamAbilities(version: version).expandedEvents
    let place = token.map { ChangeStreamStart.after($0) } ?? .at(start.position)
    let cursor = try open(connection, server) { [scope] () throws(MongoError) in
      try connection.openStream(scope, place, expanded: expanded, on: server)
    }
    hasAnswered = false
    do {
      try proceed(cursor, connection, server)
    } catch {
      switch error {
      case .superseded, .stale:
        // So that the server need not keep it for ten minutes. If it can't be told: no matter.
        let isClosed: Void? = try? connection.killCursor(cursor, of: scope, on: server)
        if case .superseded = error, isClosed != nil, patience == mailbox.options.replyTimeout {
          kept = connection
        }
      case .interrupted, .lost, .failed: break
      }
      throw error
    }
  }

  /// From the empty first batch on; never returns normally.
  private mutating func proceed(
    _ cursor: Int64, _ connection: MongoConnection, _ server: MongoConnection.Server
  ) throws(End) {
    let opened = ContinuousClock.now
    var batchSize = Self.firstBatch
    var lastProgress = ContinuousClock.now
    var isOpen = cursor != 0
    while mailbox.isCurrent(generation) {
      guard isOpen else { throw .interrupted(Self.cursorEnded(server.host)) }
      let batch = try read(batchSize: batchSize, connection, server) { () throws(MongoError) in
        try connection.more(cursor, of: scope, batch: batchSize, on: server)
      }
      batchSize = max(mailbox.options.batchSize, 1)
      hasAnswered = true
      tokenIsGiven = false
      search.end()
      if batch.isLast { patience = mailbox.options.replyTimeout }
      if isBehind(batch) {
        try waitForStart(since: opened, server)
      } else if outage {
        recovered(server.host)
      }
      if try deliver(batch) {
        lastProgress = .now
      } else if ContinuousClock.now - lastProgress > mailbox.options.longestSilence {
        throw .stale
      }
      if batch.survey.isInvalidated { throw .stale }
      isOpen = batch.reply.cursor != 0
    }
    throw .superseded
  }

  private mutating func recovered(_ host: String) {
    outage = false
    backoff.reset()
    mailbox.update(generation: generation) { $0.reopens += 1 }
    mailbox.logger.info("reading the change stream again at \(host), from \(reached)")
  }

  /// The server isn't as far yet as where to start. That is no proof of a loss.
  private func isBehind(_ batch: Batch) -> Bool {
    batch.reply.operationTime.map { $0 < start.position } ?? false
  }

  private mutating func waitForStart(
    since opened: ContinuousClock.Instant, _ server: MongoConnection.Server
  ) throws(End) {
    guard ContinuousClock.now - opened > mailbox.options.longestLag else { return }
    if !outage {
      outage = true
      mailbox.logger.warning("\(server.host) has not come to \(start.position) yet; waiting for it")
    }
    throw .stale
  }

  private func selectServer(_ connection: MongoConnection) throws(End) -> MongoConnection.Server {
    var server = try attempt { () throws(MongoError) in try connection.selectServer() }
    if let host = search.host {
      let members = try attempt { () throws(MongoError) in try connection.members() }
      server = members.first { $0.host == host } ?? server
    }
    if let reason = server.withoutChangeStreams { throw .failed(.unsupported(reason)) }
    if server.hello.setName == nil, !server.hello.isRouter {
      throw .interrupted(
        MongoError(
          domain: .selection,
          message: "\(server.host) is started as a member of a replica set that is not initiated "
            + "yet; run rs.initiate()", place: "looking for a server", isTransient: true))
    }
    return server
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
      place: "getMore on the change stream at \(host)", isTransient: true)
  }

  // MARK: Batches

  /// A reply, and what a look at it gave.
  private struct Batch {
    var bytes: MongoReply
    var reply: CursorReply
    var survey: ChangeStreamSurvey
    /// The server had no more when it answered.
    var isLast: Bool
  }

  /// The cursor of a stream that `command` opens.
  private mutating func open(
    _ connection: MongoConnection, _ server: MongoConnection.Server,
    _ command: () throws(MongoError) -> MongoReply
  ) throws(End) -> Int64 {
    let bytes: MongoReply
    do {
      bytes = try command()
    } catch {
      guard tokenIsGiven, ChangeStreamRefusal.isRefusal(error),
        !ChangeStreamRefusal.isFailure(error)
      else {
        throw end(error, connection, server, opening: true)
      }
      mailbox.logger.notice("\(error); starting at \(start.position) without \(describe(token))")
      dropToken()
      throw .stale
    }
    return try parse(bytes, batchSize: 1).reply.cursor
  }

  private func read(
    batchSize: Int, _ connection: MongoConnection, _ server: MongoConnection.Server,
    _ command: () throws(MongoError) -> MongoReply
  ) throws(End) -> Batch {
    let bytes: MongoReply
    do {
      bytes = try command()
    } catch {
      throw end(error, connection, server, opening: false)
    }
    return try parse(bytes, batchSize: batchSize)
  }

  private func parse(_ bytes: MongoReply, batchSize: Int) throws(End) -> Batch {
    do {
      let reply = try CursorReply(bytes.bytes)
      let survey = try ChangeStreamSurvey(reply, from: start.position)
      let isLast = survey.count < batchSize && bytes.bytes.count < Self.fullReply
      return Batch(bytes: bytes, reply: reply, survey: survey, isLast: isLast)
    } catch {
      throw .failed(.corruptReply("in the change stream, from \(reached): \(error)"))
    }
  }

  /// Queues a batch that has events or tells of progress; false if it does neither.
  private mutating func deliver(_ batch: Batch) throws(End) -> Bool {
    let new = batch.reply.resumeToken.flatMap { ResumeToken($0) } ?? batch.survey.token
    guard let new else { return false }
    // A server that reads to its end for a full reply has nothing to add to the reply's mark: that the
    // next one is empty tells that the full one was the last.
    let endsCut = mayBeCut && batch.isLast
    guard batch.survey.count > 0 || leads(new) || endsCut else {
      noteReply(isBehind(batch) ? .waiting(for: start.position) : .caughtUp)
      return false
    }
    let before = reached
    if batch.survey.count > 0 || leads(new) { token = new }
    reached = max(reached, batch.survey.last ?? reached, new.position ?? reached)
    guard batch.survey.count > batch.survey.skipped || reached > before || endsCut else {
      noteReply(batch.isLast ? .caughtUp : .reading)
      return true
    }
    mayBeCut = !batch.isLast
    let streamBatch = ChangeStreamBatch(
      batch.bytes, parsed: batch.reply, count: batch.survey.count, skipped: batch.survey.skipped,
      last: reached, token: token ?? new, isDrained: batch.isLast, generation: generation)
    guard mailbox.deliver(streamBatch, moreWaits: !batch.isLast) else { throw .superseded }
    return true
  }

  private func noteReply(_ phase: SourceStatus.Phase) {
    mailbox.update(generation: generation) { status in
      status.phase = phase
      status.lastReplyAt = .now
    }
  }

  /// Whether a token is further than the one at hand. A mark stands before the events of its time,
  /// so it isn't further than one of these.
  private func leads(_ new: ResumeToken) -> Bool {
    guard let token else { return true }
    guard let old = token.position, let position = new.position else { return new != token }
    return position > old
  }

  // MARK: Errors

  /// What a server's error means for the stream.
  private func end(
    _ error: MongoError, _ connection: MongoConnection, _ server: MongoConnection.Server,
    opening: Bool
  ) -> End {
    let isFirst = opening || !hasAnswered
    switch ChangeStreamRefusal(
      error, opening: opening, isFirst: isFirst, afterToken: isFirst && token != nil)
    {
    case .none: return .interrupted(error)
    case .lost(let reason): return lost(reason, connection, server)
    case .tooLarge(let position):
      return .failed(
        .unsupported(ChangeStreamRefusal.tooLarge(at: position, after: reached, error)))
    case .unreadable:
      return .failed(.unsupported(ChangeStreamRefusal.unreadable(after: reached, error)))
    case .final:
      return .failed(
        .unsupported("\(error); the server refuses to go on with this change stream at \(reached)"))
    }
  }

  /// What can be learned of the oplog without the right to read it is little.
  private func lost(
    _ reason: PositionLost.Reason, _ connection: MongoConnection, _ server: MongoConnection.Server
  ) -> End {
    let oldest = try? connection.oldestEntry(on: server)
    let newest = try? connection.hello(server).lastWrite
    var others: [String] = []
    if !connection.primaryOnly, !server.hello.isRouter, let members = try? connection.members() {
      others = members.map(\.host).filter { $0 != server.host }
    }
    // What isn't there is the token's event, if the server looked for that.
    let expected = reason == .rolledBack ? token?.position ?? reached : reached
    return .lost(
      PositionLost(
        reason: reason, expected: ResumePoint(position: expected), found: nil,
        oldest: oldest?.point, newest: newest, host: server.host),
      others: others)
  }

  private func describe(_ token: ResumeToken?) -> String { token.map { "\($0)" } ?? "no token" }
}
