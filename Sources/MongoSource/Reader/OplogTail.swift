internal import Logging
internal import Oplog

/// The reader thread's work for one `restart`: carries out what an `OplogTailMachine` asks for.
struct OplogTail {
  typealias Mailbox = ReaderMailbox<OplogBatch, ResumePoint, SourceStatus>

  private let mailbox: Mailbox
  private let generation: UInt64
  private var machine: OplogTailMachine

  init(_ mailbox: Mailbox, generation: UInt64, from point: ResumePoint) {
    self.mailbox = mailbox
    self.generation = generation
    machine = OplogTailMachine(
      from: point, generation: generation, settings: .init(mailbox.options))
  }

  /// Returns when the generation has ended or failed.
  ///
  /// - Parameter kept: a connection to begin with; afterwards the one in use, if nothing is wrong with it.
  mutating func run(_ kept: inout MongoConnection?) {
    var link = Link(connection: kept)
    kept = nil
    var answer = OplogTailMachine.Answer.begin
    while true {
      if !mailbox.isCurrent(generation) { machine.supersede() }
      let step = machine.next(answer, now: .now)
      for note in step.notes { apply(note, &link) }
      switch step.request {
      case .fail(let failure): return mailbox.fail(failure, generation: generation)
      case .finish:
        kept = link.connection
        return
      case .pause(let pause):
        mailbox.pause(pause, generation: generation)
        answer = .done
      case .deliver(let batch, let moreWaits):
        let isQueued = mailbox.deliver(batch) { status in
          status.queued(
            batch.count, bytes: batch.byteCount, last: batch.last, moreWaits ? .reading : .caughtUp)
        }
        answer = isQueued ? .done : .refused
      case .connect, .startSession, .find, .getMore, .search, .killCursor:
        do {
          answer = try link.carryOut(step.request, mailbox.options)
        } catch {
          answer = .error(error)
        }
      }
    }
  }

  private func apply(_ note: OplogTailMachine.Note, _ link: inout Link) {
    switch note {
    case .disconnect: link = Link()
    case .host(let host): mailbox.update(generation: generation) { $0.host = host }
    case .replied(let phase, let time):
      mailbox.update(generation: generation) { $0.replied(phase, at: time) }
    case .reopening(let error, let attempt):
      mailbox.update(generation: generation) { $0.reopen(after: error, attempt: attempt) }
    case .recovered: mailbox.update(generation: generation) { $0.reopens += 1 }
    case .log(let line):
      mailbox.logger.log(level: line.level, "\(line)", metadata: line.metadata)
    }
  }
}

/// A connection, and the server that its commands are sent to.
private struct Link {
  var connection: MongoConnection?
  private var server: MongoConnection.Server?

  init(connection: MongoConnection? = nil) { self.connection = connection }

  mutating func carryOut(
    _ request: OplogTailMachine.Request, _ options: MongoSourceOptions
  ) throws(MongoError) -> OplogTailMachine.Answer {
    if case .connect(let preferred) = request { return try connect(preferred, options) }
    guard let connection, let server else {
      preconditionFailure("\(request) without a connection")
    }
    switch request {
    case .startSession:
      try connection.startSession()
      return .done
    case .find(let position, let majority, let batchSize):
      return .reply(
        try connection.tail(from: position, majority: majority, batch: batchSize, on: server))
    case .getMore(let cursor, let batchSize):
      return .reply(try connection.more(cursor, batch: batchSize, on: server))
    case .search(let point, let found, let majority):
      return .missing(
        try connection.search(for: point, found: found, majority: majority, besides: server))
    case .killCursor(let cursor):
      try connection.killCursor(cursor, on: server)
      return .done
    case .connect, .deliver, .pause, .fail, .finish:
      preconditionFailure("\(request) is nothing for a connection")
    }
  }

  private mutating func connect(
    _ preferred: String?, _ options: MongoSourceOptions
  ) throws(MongoError) -> OplogTailMachine.Answer {
    let connection: MongoConnection
    if let open = self.connection {
      connection = open
    } else {
      connection = try MongoConnection(options)
      self.connection = connection
    }
    var selected = try connection.selectServer()
    if let preferred {
      selected = try connection.members().first { $0.host == preferred } ?? selected
    }
    server = selected
    return .connected(
      host: selected.host, isInitiated: selected.hello.setName != nil,
      unsupported: selected.unsupported)
  }
}
