internal import Logging
internal import Oplog

/// The reader thread's work for one `restart`: open and read, and reopen after an error.
///
/// A stream is first opened at a cluster time and then reopened after resume tokens: a time repeats
/// all of its events, a token is exact. Uses raw commands, as `OplogTail` does.
struct ChangeStreamTail {
  typealias Mailbox = ReaderMailbox<ChangeStreamBatch, Start, SourceStatus>

  struct Start: Sendable {
    var point: ResumePoint
    var token: ResumeToken?
  }

  private let mailbox: Mailbox
  private let scope: ChangeStreamOptions.Scope
  private let generation: UInt64
  private let start: ResumePoint
  /// Resume after this; nil: at `start`.
  private var token: ResumeToken?
  /// `token` is the caller's: nothing has been read after it yet.
  private var tokenIsGiven: Bool
  /// No event before this will follow.
  private var reached: OplogPosition
  /// The last queued batch may have been cut by the size limit, so the consumer waits for more.
  private var mayBeCut = false

  private var retries = Retries()
  /// How long a server may take to reply. Doubled after a timeout: finding the next event can be slow.
  private var replyTimeout: Duration
  /// The server has answered on the current cursor.
  private var hasAnswered = false
  private var search = MemberSearch()

  private static let longestReplyTimeout = Duration.seconds(300)
  /// Small, so that the first events are published early.
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
    /// This member doesn't have the position; `others` may.
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
    replyTimeout = mailbox.options.replyTimeout
    // A later token, or one inside the entry at `start`, would skip events.
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
            "the oplog no longer holds \(describe(token)); starting at \(start.position) without the token"
          )
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
            // No backoff while searching the members.
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
      replyTimeout = min(replyTimeout * 2, Self.longestReplyTimeout)
    }
    mailbox.pause(
      after: error, &retries, "reopening the change stream at \(reached), with retries",
      generation: generation)
  }

  // MARK: One cursor

  /// Opens a cursor and reads it to its end.
  private mutating func follow(_ kept: inout MongoConnection?) throws(End) {
    hasAnswered = true  // A failed connection attempt must not raise `replyTimeout`.
    let replyTimeout = replyTimeout
    let old = replyTimeout == mailbox.options.replyTimeout ? kept : nil
    kept = nil
    let connection: MongoConnection
    if let old {
      connection = old
    } else {
      connection = try attempt { () throws(MongoError) in
        try MongoConnection(mailbox.options, replyTimeout: replyTimeout)
      }
    }
    let server = try selectServer(connection)
    mailbox.update(generation: generation) { $0.host = server.host }
    let version = try attempt { () throws(MongoError) in
      try connection.startSession()
      return try connection.version(server)
    }
    let expanded = ServerCapabilities(version: version).expandsEvents
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
        // Best effort: the server drops an idle cursor after ten minutes.
        let isClosed: Void? = try? connection.killCursor(cursor, of: scope, on: server)
        if case .superseded = error, isClosed != nil, replyTimeout == mailbox.options.replyTimeout {
          kept = connection
        }
      case .interrupted, .lost, .failed: break
      }
      throw error
    }
  }

  /// Reads on after the empty first batch. Never returns normally.
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
      if batch.isLast { replyTimeout = mailbox.options.replyTimeout }
      if isBehind(batch) {
        try waitForStart(since: opened, server)
      } else {
        noteRecovery(server.host)
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

  private mutating func noteRecovery(_ host: String) {
    guard retries.succeeded() else { return }
    mailbox.update(generation: generation) { $0.reopens += 1 }
    mailbox.logger.info("reading the change stream again at \(host), from \(reached)")
  }

  /// The server hasn't reached the start position yet. That doesn't mean it is lost.
  private func isBehind(_ batch: Batch) -> Bool {
    batch.reply.operationTime.map { $0 < start.position } ?? false
  }

  private mutating func waitForStart(
    since opened: ContinuousClock.Instant, _ server: MongoConnection.Server
  ) throws(End) {
    guard ContinuousClock.now - opened > mailbox.options.longestLag else { return }
    if retries.report() {
      mailbox.logger.warning(
        "\(server.host) has not reached \(start.position) yet; waiting for it")
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
          message:
            "\(server.host) belongs to a replica set that is not initiated yet; run rs.initiate()",
          place: "server selection", isTransient: true))
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

  /// A parsed reply.
  private struct Batch {
    var bytes: MongoReply
    var reply: CursorReply
    var survey: ChangeStreamSurvey
    /// The server had no more events when it answered.
    var isLast: Bool
  }

  /// Opens a stream with `command` and returns its cursor.
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

  /// Queues a batch that has events or progress. False if it has neither.
  private mutating func deliver(_ batch: Batch) throws(End) -> Bool {
    let new = batch.reply.resumeToken.flatMap { ResumeToken($0) } ?? batch.survey.token
    guard let new else { return false }
    // After a full reply that happened to end at the stream's end, the high-water mark doesn't advance:
    // only the next, empty reply shows that nothing is missing.
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
    let isQueued = mailbox.deliver(streamBatch) { status in
      status.queued(
        streamBatch.count, bytes: streamBatch.byteCount, last: streamBatch.last,
        batch.isLast ? .caughtUp : .reading)
    }
    guard isQueued else { throw .superseded }
    return true
  }

  private func noteReply(_ phase: SourceStatus.Phase) {
    mailbox.update(generation: generation) { $0.replied(phase, at: .now) }
  }

  /// Whether `new` is ahead of the current token. A high-water mark precedes the events of its time,
  /// so it isn't ahead of one of them.
  private func leads(_ new: ResumeToken) -> Bool {
    guard let token else { return true }
    guard let old = token.position, let position = new.position else { return new != token }
    return position > old
  }

  // MARK: Errors

  /// Classifies a server error.
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
        .unsupported("\(error); the server refuses to continue this change stream at \(reached)"))
    }
  }

  /// The oldest entry is unknown where the user may not read the oplog.
  private func lost(
    _ reason: PositionLost.Reason, _ connection: MongoConnection, _ server: MongoConnection.Server
  ) -> End {
    let oldest = try? connection.oldestEntry(on: server)
    let newest = try? connection.hello(server).lastWrite
    var others: [String] = []
    if !connection.primaryOnly, !server.hello.isRouter, let members = try? connection.members() {
      others = members.map(\.host).filter { $0 != server.host }
    }
    // `rolledBack`: the server looked for the token's event.
    let expected = reason == .rolledBack ? token?.position ?? reached : reached
    return .lost(
      PositionLost(
        reason: reason, expected: ResumePoint(position: expected), found: nil,
        oldest: oldest?.point, newest: newest, host: server.host),
      others: others)
  }

  private func describe(_ token: ResumeToken?) -> String { token.map { "\($0)" } ?? "no token" }
}
