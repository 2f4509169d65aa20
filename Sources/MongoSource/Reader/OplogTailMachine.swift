internal import Oplog

/// What a reader does for one `restart`: open a cursor, verify its first entry, read, and reopen after an
/// error. Pure: it says what to do, and is given the answers and the time.
///
///     var step = machine.next(.begin, now: now)
///     while … { apply(step.notes); step = machine.next(carryOut(step.request), now: now) }
///
/// It works with raw commands instead of a cursor API: a reply is passed on whole without copying its
/// entries, and the end of a batch is known, so nothing waits for an entry that isn't there yet.
package struct OplogTailMachine: Sendable {
  /// Tests only.
  package var errors: DeliberateErrors = []
  /// What was read last, or where reading starts.
  package private(set) var resume: ResumePoint

  private let settings: Settings
  private let generation: UInt64
  private var random: any RandomNumberGenerator & Sendable
  private var state = State.connecting
  private var isSuperseded = false
  /// The entry at `resume` is already queued.
  private var resumeIsQueued = false
  /// A member that has the entry at `resume`, which another one lacked.
  private var preferredHost: String?
  private var retries = Retries()
  private var notes: [Note] = []

  /// Small, so that the first entry is verified and published early.
  private static let firstBatch = 100
  /// A reply this large may have been cut by MongoDB's limit of 16 MB.
  private static let fullReply = 8 << 20

  /// What the next answer is about.
  private enum State: Sendable {
    case connecting
    case startingSession(host: String)
    case opening(host: String)
    /// For the first entries of a cursor.
    case waiting(Cursor)
    case searching
    /// `isOpen`: more may follow what is delivered.
    case delivering(Cursor, isOpen: Bool)
    case reading(Cursor)
    case killing(keepsConnection: Bool)
    case pausing
    case ended
  }

  private struct Cursor: Sendable {
    var host: String
    var id: Int64
    /// As the first reply had it.
    var opened: Int64
    /// When the cursor was opened, or when entries last came.
    var since: ContinuousClock.Instant
  }

  /// A parsed reply.
  private struct Batch {
    var bytes: MongoReply
    var reply: CursorReply
    var survey: CursorReply.Survey
    /// The server had no more entries when it answered.
    var isLast: Bool
  }

  /// - Parameter random: spreads the pauses between attempts.
  package init(
    from point: ResumePoint, generation: UInt64, settings: Settings,
    random: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
  ) {
    self.resume = point
    self.generation = generation
    self.settings = settings
    self.random = random
  }

  /// `restart` or `stop`: nothing is to be read any more. Takes effect with the next answer.
  package mutating func supersede() { isSuperseded = true }

  /// Takes the answer to the last request.
  package mutating func next(_ answer: Answer, now: ContinuousClock.Instant) -> Step {
    let request = request(after: answer, now)
    defer { notes = [] }
    return Step(notes: notes, request: request)
  }

  private mutating func request(
    after answer: Answer, _ now: ContinuousClock.Instant
  ) -> Request {
    switch (state, answer) {
    case (.ended, _): return .finish
    case (.connecting, .begin), (.pausing, .done): return connect()
    case (.killing(let keepsConnection), .done):
      if keepsConnection { return end(.finish) }
      notes.append(.disconnect)
      return connect()
    case (.killing, .error):
      // Best effort: the server drops an idle cursor after ten minutes.
      notes.append(.disconnect)
      return connect()
    case (_, .error(let error)): return interrupted(error)
    case (.connecting, .connected(let host, let isInitiated, let unsupported)):
      return connected(host, isInitiated: isInitiated, unsupported: unsupported)
    case (.startingSession(let host), .done):
      state = .opening(host: host)
      return .find(from: start, majority: settings.majority, batchSize: Self.firstBatch)
    case (.opening(let host), .reply(let bytes)):
      return parse(bytes, batchSize: Self.firstBatch) { machine, batch in
        let id = batch.reply.cursor
        let cursor = Cursor(host: host, id: id, opened: id, since: now)
        return machine.opened(batch, cursor, now)
      }
    case (.waiting(var cursor), .reply(let bytes)):
      return parse(bytes, batchSize: Self.firstBatch) { machine, batch in
        cursor.id = batch.reply.cursor
        return machine.opened(batch, cursor, now)
      }
    case (.searching, .missing(.elsewhere(let host))):
      notes += [.disconnect, .log(.elsewhere(host: host, at: resume))]
      preferredHost = host
      return connect()
    case (.searching, .missing(.lost(let lost))): return failed(.positionLost(lost))
    case (.delivering(let cursor, let isOpen), .done):
      return delivered(cursor, isOpen: isOpen, now)
    case (.delivering(let cursor, _), .refused):
      isSuperseded = true
      return kill(cursor, keepsConnection: true)
    case (.reading(let cursor), .reply(let bytes)):
      return parse(bytes, batchSize: settings.batchSize) { machine, batch in
        machine.read(batch, cursor, now)
      }
    default: preconditionFailure("\(answer) does not answer the request of \(state)")
    }
  }

  // MARK: Opening

  private mutating func connect() -> Request {
    guard !isSuperseded else { return end(.finish) }
    state = .connecting
    return .connect(preferred: preferredHost)
  }

  private mutating func connected(
    _ host: String, isInitiated: Bool, unsupported: String?
  ) -> Request {
    if let unsupported { return failed(.unsupported(unsupported)) }
    guard isInitiated else {
      return interrupted(
        MongoError(
          domain: .selection,
          message:
            "\(host) belongs to a replica set that is not initiated yet; run rs.initiate()",
          place: "server selection", isTransient: true))
    }
    notes.append(.host(host))
    state = .startingSession(host: host)
    return .startSession
  }

  /// Where to read from.
  private var start: OplogPosition {
    guard errors.contains(.startsBehind) else { return resume.position }
    return OplogPosition(
      seconds: resume.position.seconds, increment: resume.position.increment &+ 1)
  }

  /// Waits for the first entries and verifies that the first one is the expected entry.
  private mutating func opened(
    _ batch: Batch, _ cursor: Cursor, _ now: ContinuousClock.Instant
  ) -> Request {
    if batch.survey.count == 0 { return wait(cursor, now) }
    guard let found = batch.survey.first, isExpected(found) else {
      // Other members are searched for it.
      state = .searching
      return .search(for: resume, found: batch.survey.first, majority: settings.majority)
    }
    return deliver(batch, cursor, now)
  }

  private func isExpected(_ entry: ResumePoint) -> Bool {
    if errors.contains(.startsBehind) { return true }
    if errors.contains(.ignoresTerm) { return entry.position == resume.position }
    return resume.matches(entry)
  }

  /// This member or the majority lags. That doesn't mean that the position is lost.
  private mutating func wait(_ cursor: Cursor, _ now: ContinuousClock.Instant) -> Request {
    guard !isSuperseded else { return kill(cursor, keepsConnection: true) }
    guard cursor.id != 0 else { return interrupted(Self.cursorEnded(cursor.host)) }
    notes.append(.replied(.waiting(for: resume.position), at: now))
    if now - cursor.since > settings.longestLag {
      if retries.report() { notes.append(.log(.lagging(host: cursor.host, at: resume))) }
      return kill(cursor, keepsConnection: false)
    }
    state = .waiting(cursor)
    return .getMore(cursor: cursor.id, batchSize: Self.firstBatch)
  }

  // MARK: Reading

  private mutating func read(
    _ batch: Batch, _ cursor: Cursor, _ now: ContinuousClock.Instant
  ) -> Request {
    if retries.succeeded() {
      notes += [.recovered, .log(.recovered(host: cursor.host, after: resume))]
    }
    if batch.survey.count > 0 { return deliver(batch, cursor, now) }
    notes.append(.replied(.caughtUp, at: now))
    if now - cursor.since > settings.longestSilence { return kill(cursor, keepsConnection: false) }
    return more(cursor, isOpen: batch.reply.cursor != 0)
  }

  /// Queues a batch with entries, without the first if that is already queued.
  private mutating func deliver(
    _ batch: Batch, _ cursor: Cursor, _ now: ContinuousClock.Instant
  ) -> Request {
    let isOpen = batch.reply.cursor != 0
    guard let last = batch.survey.last else { return more(cursor, isOpen: isOpen) }
    let skipFirst = resumeIsQueued && batch.survey.first?.position == resume.position
    resume = last
    resumeIsQueued = true
    guard batch.survey.count > (skipFirst ? 1 : 0) else {
      notes.append(.replied(.caughtUp, at: now))
      return delivered(cursor, isOpen: isOpen, now)
    }
    state = .delivering(cursor, isOpen: isOpen)
    return .deliver(
      OplogBatch(
        batch.bytes, parsed: batch.reply, count: batch.survey.count, last: last,
        generation: generation, skipFirst: skipFirst),
      moreWaits: !batch.isLast)
  }

  private mutating func delivered(
    _ cursor: Cursor, isOpen: Bool, _ now: ContinuousClock.Instant
  ) -> Request {
    var cursor = cursor
    cursor.since = now
    return more(cursor, isOpen: isOpen)
  }

  private mutating func more(_ cursor: Cursor, isOpen: Bool) -> Request {
    guard !isSuperseded else { return kill(cursor, keepsConnection: true) }
    guard isOpen else { return interrupted(Self.cursorEnded(cursor.host)) }
    state = .reading(cursor)
    return .getMore(cursor: cursor.id, batchSize: settings.batchSize)
  }

  private mutating func parse(
    _ bytes: MongoReply, batchSize: Int,
    _ proceed: (inout OplogTailMachine, Batch) -> Request
  ) -> Request {
    let batch: Batch
    do {
      let reply = try CursorReply(bytes.bytes)
      let survey = try reply.survey()
      let isLast = survey.count < batchSize && bytes.bytes.count < Self.fullReply
      batch = Batch(bytes: bytes, reply: reply, survey: survey, isLast: isLast)
    } catch {
      return failed(.corruptReply("after \(resume): \(error)"))
    }
    return proceed(&self, batch)
  }

  // MARK: The cursor's end

  /// Closes the cursor. Its connection has another use only where nothing is to be read any more: a new
  /// cursor is for a new choice of the server.
  private mutating func kill(_ cursor: Cursor, keepsConnection: Bool) -> Request {
    state = .killing(keepsConnection: keepsConnection)
    return .killCursor(cursor.opened)
  }

  /// Retries with a new connection after a pause, or fails where that can't help.
  private mutating func interrupted(_ error: MongoError) -> Request {
    preferredHost = nil
    if let failure = Self.failure(error) { return failed(failure) }
    let failure = retries.failed(using: &random)
    notes += [
      .disconnect, .reopening(error, attempt: failure.attempt),
      .log(
        failure.isFirst
          ? .interrupted(error, at: resume) : .stillInterrupted(error, attempt: failure.attempt)),
    ]
    state = .pausing
    return .pause(failure.pause)
  }

  private mutating func failed(_ failure: SourceFailure) -> Request {
    notes.append(.disconnect)
    return end(.fail(failure))
  }

  private mutating func end(_ request: Request) -> Request {
    state = .ended
    return request
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

  private static func cursorEnded(_ host: String) -> MongoError {
    MongoError(
      domain: .reply, message: "the server closed the cursor",
      place: "getMore on local.oplog.rs at \(host)", isTransient: true)
  }
}
