import Bridge
import DeliberateErrors
import Logging
import MongoSource
import Oplog
import SimulatedMongo

/// Drives the reader's machine in virtual time, as its thread does in the service.
///
/// Sendable invariant: the simulator has one thread.
final class SimulatedOplogReader: ChangeReader, @unchecked Sendable {
  private let end: MongoEnd
  private unowned let world: World
  private let options: MongoSourceOptions
  private let logger: Logger
  private let onChange: @Sendable () -> Void

  private var generation: UInt64 = 0
  private var run: Run?
  private var queue: [OplogBatch] = []
  private var isStopped = false
  private(set) var failure: SourceFailure?
  private(set) var status = SourceStatus()

  /// The work for one `restart`.
  private final class Run {
    var machine: OplogTailMachine
    let generation: UInt64
    var member: Int?
    var waiting: (batch: OplogBatch, moreWaits: Bool)?
    var isOver = false

    init(_ machine: OplogTailMachine, _ generation: UInt64) {
      self.machine = machine
      self.generation = generation
    }
  }

  private static let queuedBatches = 4

  init(
    _ end: MongoEnd, _ world: World, _ options: MongoSourceOptions, logger: Logger,
    onChange: @escaping @Sendable () -> Void
  ) {
    self.end = end
    self.world = world
    var options = options
    options.batchSize = 20
    self.options = options
    self.logger = logger
    self.onChange = onChange
  }

  var name: String { "oplog" }
  var readsOplog: Bool { true }

  func restart(at point: ResumePoint, after token: ResumeToken?) -> UInt64 {
    queue = []
    failure = nil
    generation += 1
    status.generation = generation
    status.lastRead = nil
    status.phase = .opening
    supersede()
    guard !isStopped else { return generation }
    var settings = OplogTailMachine.Settings(options)
    if DeliberateError.isOn(.readsUncommitted) { settings.majority = false }
    var machine = OplogTailMachine(from: point, generation: generation, settings: settings)
    if DeliberateError.isOn(.termNotCompared) { machine.errors = .ignoresTerm }
    if DeliberateError.isOn(.startsBehind) { machine.errors = .startsBehind }
    let run = Run(machine, generation)
    self.run = run
    end.process.eventLoop.later { [self] in step(run, .begin) }
    return generation
  }

  private func supersede() {
    guard let run else { return }
    run.isOver = true
    self.run = nil
  }

  func nextBatch() -> EventBatch? {
    guard !queue.isEmpty else { return nil }
    let batch = queue.removeFirst()
    status.queuedBatches = queue.count
    if let run, let waiting = run.waiting, !run.isOver {
      run.waiting = nil
      end.process.eventLoop.later { [self] in deliver(waiting.batch, waiting.moreWaits, run) }
    }
    return .oplog(batch)
  }

  func stop(waiting limit: Duration) {
    isStopped = true
    status.phase = .stopped
    supersede()
  }

  // MARK: - The machine

  private func step(_ run: Run, _ answer: OplogTailMachine.Answer) {
    guard !run.isOver else { return }
    let step = run.machine.next(answer, now: .now)
    for note in step.notes { apply(note, run) }
    switch step.request {
    case .connect(let preferred): connect(preferred, run)
    case .startSession: step1(run, .done)
    case .find(let position, let majority, let batchSize):
      read(
        run, when: { true },
        { set, member in
          try set.find(on: member, from: position, majority: majority, batchSize: batchSize)
        })
    case .getMore(let cursor, let batchSize): more(cursor, batchSize, run)
    case .search(let point, let found, _):
      let member = run.member ?? 0
      end.ask(
        member, { [end] in end.search(point, found: found, besides: member) },
        { [self] in
          take($0, run) { .missing($0) }
        })
    case .deliver(let batch, let moreWaits): deliver(batch, moreWaits, run)
    case .killCursor(let cursor):
      let member = run.member ?? 0
      end.ask(
        member, { [end] in try end.set.killCursor(on: member, cursor) },
        { [self] in
          take($0, run) { .done }
        })
    case .pause(let pause):
      end.process.eventLoop.later(in: pause.nanoseconds) { [self] in step1(run, .done) }
    case .fail(let failure):
      run.isOver = true
      self.failure = failure
      status.phase = .failed
      logger.error("\(failure)")
      onChange()
    case .finish: run.isOver = true
    }
  }

  private func step1(_ run: Run, _ answer: OplogTailMachine.Answer) {
    end.process.eventLoop.later { [self] in step(run, answer) }
  }

  private func take<T>(
    _ result: Result<T, MongoError>, _ run: Run, _ answer: (T) -> OplogTailMachine.Answer
  ) {
    switch result {
    case .success(let value): step(run, answer(value))
    case .failure(let error): step(run, .error(error))
    }
  }

  private func connect(_ preferred: String?, _ run: Run) {
    let set = end.set
    var member = end.selected
    if let preferred, let index = MongoEnd.hosts.firstIndex(of: preferred), set.members[index].isUp
    {
      member = index
    }
    run.member = member
    end.ask(
      member, {},
      { [self] in
        take($0, run) {
          .connected(host: MongoEnd.hosts[member ?? 0], isInitiated: true, unsupported: nil)
        }
      })
  }

  private func read(
    _ run: Run, when isReady: @escaping () -> Bool,
    _ command: @escaping (SimulatedReplicaSet, Int) throws -> ReadReply
  ) {
    let member = run.member ?? 0
    end.ask(
      member, when: { run.isOver || isReady() },
      { [end] in
        let reply = try command(end.set, member)
        return end.set.withBytes(of: reply) { MongoReply(copying: $0) }
      }, { [self] in take($0, run) { .reply($0) } })
  }

  /// A tailable cursor that awaits data: the server answers when there is some, or after a second.
  private func more(_ cursor: Int64, _ batchSize: Int, _ run: Run) {
    let member = run.member ?? 0
    read(
      run, when: { [end] in end.set.isReady(on: member, cursor: cursor) },
      { set, member in
        try set.getMore(on: member, cursor: cursor, batchSize: batchSize)
      })
  }

  private func deliver(_ batch: OplogBatch, _ moreWaits: Bool, _ run: Run) {
    guard !run.isOver else { return }
    guard queue.count < Self.queuedBatches else {
      run.waiting = (batch, moreWaits)
      return
    }
    let wasEmpty = queue.isEmpty
    queue.append(batch)
    status.entriesRead += UInt64(batch.count)
    status.lastRead = batch.last
    status.lastBatchAt = .now
    status.lastReplyAt = .now
    status.queuedBatches = queue.count
    let phase = moreWaits ? SourceStatus.Phase.reading : .caughtUp
    let isNews = wasEmpty || status.phase != phase
    status.phase = phase
    if isNews { onChange() }
    step1(run, .done)
  }

  private func apply(_ note: OplogTailMachine.Note, _ run: Run) {
    let before = status.phase
    switch note {
    case .disconnect: run.member = nil
    case .host(let host): status.host = host
    case .replied(let phase, let time):
      status.phase = phase
      status.lastReplyAt = time
    case .reopening(let error, let attempt):
      status.phase = .reopening(reason: error.description, attempt: attempt)
      status.lastError = error
    case .recovered: status.reopens += 1
    case .log(let line): logger.log(level: line.level, "\(line)", metadata: line.metadata)
    }
    if status.phase != before { onChange() }
  }
}

/// Watches the replica set, once a second.
///
/// Sendable invariant: the simulator has one thread.
final class SimulatedMonitor: MongoWatching, @unchecked Sendable {
  private let end: MongoEnd
  private(set) var snapshot = MongoStatus()
  private var isStopped = false

  private let tellsTime: Bool

  init(_ end: MongoEnd, tellsTime: Bool) {
    self.end = end
    self.tellsTime = tellsTime
  }

  func start() { poll() }
  func stop(waiting limit: Duration) { isStopped = true }

  private func poll() {
    guard !isStopped, !end.process.isGhost else { return }
    let member = end.selected
    end.ask(
      member, { [end] in try end.set.status(of: member ?? 0) },
      { [self] result in
        snapshot.at = .now
        switch result {
        case .success(let status):
          snapshot.reachable = true
          snapshot.error = nil
          snapshot.reachedAt = .now
          snapshot.host = MongoEnd.hosts[member ?? 0]
          snapshot.setName = Scenario.source
          snapshot.version = "6.0.5"
          snapshot.majority = status.majority
          snapshot.lastWrite = status.newest
          snapshot.oldest = status.oldest
          // MongoDB's clock counts where groups are cut over.
          if tellsTime { snapshot.localTime = end.set.now / Nano.milli }
        case .failure(let error):
          snapshot.reachable = false
          snapshot.error = error
        }
        end.process.eventLoop.later(in: Nano.second) { [self] in poll() }
      })
  }
}

extension SimulatedReplicaSet {
  fileprivate func status(
    of member: Int
  ) throws -> (majority: ResumePoint?, newest: ResumePoint?, oldest: ResumePoint?) {
    func point(_ entry: SimulatedEntry?) -> ResumePoint? {
      entry.map { ResumePoint(position: $0.position, term: $0.term) }
    }
    return (
      point(try newestCommitted(on: member)), point(try newest(on: member)),
      point(try oldest(on: member))
    )
  }
}
