import BridgeConfiguration
import DeliberateErrors
import Foundation
import Logging
import NATS
import NIOCore
import Synchronization

/// An instance's part in the election of its bridge's leader: it waits as a standby, takes the lease, renews it,
/// and releases it. Thread-safe.
///
/// It has a NATS connection of its own, so that an epoch that ends does not end the lease. When to take over is
/// decided by `StandbyMachine`; what keeps a deposed leader from storing anything are the streams and the
/// checkpoint, not the lease.
final class Leadership: Sendable {
  struct Settings: Sendable {
    var bridge: String
    var bucket: String
    var period: Duration
    var instance: String
    /// It is an operator's command, which does not publish events as they come.
    var isOperator = false
  }

  /// What a standby found: the lease can be taken.
  struct Vacancy: Sendable {
    var reading: StandbyMachine.Reading
    var reason: TakeoverReason
    /// At least one below the next one.
    var highestEpoch: UInt64
    /// When the previous holder last wrote the lease, by the servers' clock.
    var heardAt: ServerTime?
    /// It took some time.
    var hasWaited = false
  }

  private struct State {
    var tenure: Tenure?
    var keeper: Task<Void, Never>?
    var configurationHash = ""
    /// Of the bucket, where it has to be made again.
    var replicas = 1
    /// The highest epoch that this process has seen, or led by.
    var highestEpoch: UInt64 = 0
    /// How often this process has led.
    var tenures = 0
    /// The connection that publishes, once standbys are answered on it, …
    var answering: NATSConnection?
    /// … and the lease is to be renewed at once.
    var wantsRenewal = false
    /// After an operator's command: when the instance before that was last heard, until a checkpoint says what the streams
    /// had.
    var heardAt: ServerTime?
    /// What is known of the lease, while this instance doesn't lead.
    var standby: (machine: StandbyMachine, began: ContinuousClock.Instant)?
  }

  let settings: Settings
  private let eventLoop: any EventLoop
  private let logger: Logger
  private let board: StatusBoard
  private let link: LeaderLink
  private let store: LeaseStore
  private let subject: LeaderSubject
  /// Called with the epoch when this instance begins to lead, and without when it leads no longer.
  private let onChange: @Sendable (UInt64?) -> Void
  private let state = Mutex(State())

  init(
    _ settings: Settings, on eventLoop: any EventLoop, board: StatusBoard, logger: Logger,
    onChange: @escaping @Sendable (UInt64?) -> Void = { _ in },
    connect: @escaping @Sendable () async throws -> NATSConnection
  ) {
    self.onChange = onChange
    self.settings = settings
    self.eventLoop = eventLoop
    self.board = board
    self.logger = logger
    link = LeaderLink(connect: connect)
    store = LeaseStore(
      bridge: settings.bridge, bucket: settings.bucket, period: settings.period)
    subject = LeaderSubject(
      bridge: settings.bridge, instance: settings.instance, on: eventLoop, board: board,
      logger: logger)
  }

  /// How often the lease is renewed, …
  var renewal: Duration { settings.period / 4 }
  /// … read by a standby, …
  private static let reading = Duration.seconds(1)
  /// … and the leader asked, …
  private static let asking = Duration.milliseconds(300)
  /// … also when it did not answer.
  private static let askingAgain = Duration.milliseconds(50)
  /// How often a leader looks whether its own connection is still there.
  private static let lookingAtLink = Duration.milliseconds(200)

  /// The present tenure, if this instance leads.
  var tenure: Tenure? { state.withLock { $0.tenure } }
  /// This process has led before.
  var hasLed: Bool { state.withLock { $0.tenures > 0 } }

  /// … and the present tenure isn't the first.
  var hasLedBefore: Bool { state.withLock { $0.tenures > ($0.tenure == nil ? 0 : 1) } }

  /// An epoch that was found in a checkpoint. Where the lease was lost with its bucket and a former leader has written
  /// its checkpoint into the next one, the lease counts from there, and not from 1.
  func note(epoch: UInt64) {
    state.withLock { $0.highestEpoch = max($0.highestEpoch, epoch) }
  }

  /// What this instance publishes by, or would.
  func use(configurationHash: String) {
    state.withLock { $0.configurationHash = configurationHash }
  }

  /// The first checkpoint of a tenure is written.
  func hasWrittenCheckpoint() { state.withLock { $0.heardAt = nil } }

  private var configurationHash: String { state.withLock { $0.configurationHash } }

  // MARK: - Standby

  /// Waits until the lease can be taken. Changes nothing on any server.
  ///
  /// - Parameters:
  ///   - isStopping: ends the wait.
  ///   - onStandby: called once when another instance leads, before this one waits.
  ///   - traces: asked once, where there is no lease: whether the bridge has ever published.
  /// - Returns: nil when stopped.
  /// - Throws: what keeps the first look from being made, and what `onStandby` throws.
  func vacancy(
    _ isStopping: @Sendable () -> Bool, onStandby: () async throws -> Void,
    traces: (NATSConnection) async throws -> Bool
  ) async throws -> Vacancy? {
    // A lease that could not be taken is not observed from the beginning again.
    var (machine, began) =
      state.withLock { $0.standby }
      ?? (
        StandbyMachine(
          StandbyMachine.Settings(
            instance: settings.instance, configurationHash: configurationHash,
            period: settings.period)), ContinuousClock.now
      )
    defer { state.withLock { $0.standby = (machine, began) } }
    func now() -> Duration { ContinuousClock.now - began }
    var heardAt: ServerTime?
    var isStandby = false
    var nextReading = now()
    var nextQuestion = now()
    var used: NATSConnection?
    var hasLooked = false
    while !isStopping() {
      do {
        let connection = try await link.connection()
        if used !== connection {
          used = connection
          machine.connected(at: link.connectedAt - began)
          board.noteReachable(connection)
        }
        if now() >= nextReading || machine.wantsReading {
          let (reading, time) = try await store.read(connection)
          machine.read(reading, at: now())
          if reading.record?.holder != settings.instance {
            heardAt = reading.record?.heardAt ?? time ?? heardAt
          }
          nextReading = now() + Self.reading
          if reading.record == nil, machine.highestEpoch == 0, !hasLooked {
            machine.hasTraces = try await traces(connection)
            hasLooked = true
            if machine.hasTraces { reportTraces() }
          }
        }
        if machine.holder != nil, now() >= nextQuestion {
          machine.heard(await subject.ask(connection), at: now())
          nextQuestion = now() + (machine.isSuspicious ? Self.askingAgain : Self.asking)
        }
        machine.settings.configurationHash = configurationHash
        note(machine, at: now())
        var decision = machine.decide(at: now())
        if DeliberateError.isOn(.leaseByWallClock), let heardAt,
          heardAt.age(by: .now) > settings.period.seconds
        {
          decision = .take(.expired)
        }
        if case .take(let reason) = decision, let last = machine.last {
          let highest = state.withLock { state in
            state.highestEpoch = max(state.highestEpoch, machine.highestEpoch)
            return state.highestEpoch
          }
          return Vacancy(
            reading: last, reason: reason, highestEpoch: highest, heardAt: heardAt,
            hasWaited: isStandby)
        }
        if !isStandby, let holder = machine.holder, machine.isStandby(at: now()) {
          isStandby = true
          report(holder, isForeign: machine.isForeign(holder))
          try await onStandby()
        }
      } catch {
        guard isStandby else { throw error }
        if error is BridgeError || error is StartRefusal { throw error }
        board.noteUnreachable("\(error)")
        await link.drop()
        try? await eventLoop.sleep(for: Self.asking)
        continue
      }
      try? await eventLoop.sleep(for: Self.askingAgain)
    }
    return nil
  }

  private func reportTraces() {
    logger.warning(
      """
      the streams show that this bridge has published, and there is no lease: if its bucket was deleted under a \
      leader, that one renews it within \(settings.period)
      """,
      metadata: ["lease": "\(store.key) in KV bucket \(settings.bucket)"])
  }

  private func report(_ holder: LeaseRecord, isForeign: Bool) {
    logger.notice(
      "standby: another instance leads this bridge",
      metadata: [
        "leader": "\(holder.holder)", "epoch": "\(holder.epoch)",
        "lease": "\(store.key) in KV bucket \(settings.bucket)",
      ])
    guard isForeign else { return }
    logger.warning(
      """
      this instance's configuration differs from the leader's: it takes over only when the leader stops by \
      itself, or has been silent for \(StandbyMachine.periodsForOtherConfiguration) leases
      """,
      metadata: [
        "leader_config_hash": "\(holder.configurationHash)", "config_hash": "\(configurationHash)",
      ])
  }

  private func note(_ machine: StandbyMachine, at now: Duration) {
    let holder = machine.holder
    let unchanged = machine.unchanged(at: now)
    let isForeign = holder.map { machine.isForeign($0) } ?? false
    board.update {
      $0.leadership.isLeader = false
      $0.leadership.note(holder)
      $0.leadership.hasOtherConfiguration = isForeign
      $0.leadership.renewedAt = unchanged.map { .now - $0 }
      // What isn't published is the leader's affair.
      if $0.leadership.leader(at: .now) != nil { $0.closedSince = .now }
    }
  }

  // MARK: - Leading

  /// Takes the lease. The bucket has to be there.
  ///
  /// - Parameter replicas: of the bucket.
  /// - Returns: nil when another instance was faster.
  func take(_ vacancy: Vacancy, replicas: Int) async throws -> Tenure? {
    state.withLock { $0.replicas = replicas }
    let connection = try await link.connection()
    let answers = await subject.listen(on: connection)
    let before = vacancy.reading.record
    let isTakeover = before.map { $0.holder != settings.instance } ?? false
    var record = LeaseRecord(
      holder: settings.instance, epoch: vacancy.highestEpoch + 1,
      configurationHash: configurationHash, period: settings.period,
      takeovers: (before?.takeovers ?? 0) + (isTakeover ? 1 : 0), reason: vacancy.reason,
      answers: answers)
    // Unknown: long ago.
    let heardAt = vacancy.heardAt ?? ServerTime(seconds: 0)
    if settings.isOperator || before?.heardAt != nil { record.heardAt = heardAt }
    state.withLock { $0.heardAt = record.heardAt }
    let sentAt = ContinuousClock.now
    guard
      let revision = try await store.write(record, expecting: vacancy.reading.revision, connection)
    else { return nil }
    let tenure = Tenure(
      epoch: record.epoch, reason: vacancy.reason,
      followsCleanEnd: vacancy.reason == .released && before?.isDrained ?? false, sentAt: sentAt,
      period: settings.period)
    if answers { holdBack(tenure, without: connection, number: 1) }
    onChange(record.epoch)
    logger.notice(
      "leading: \(vacancy.reason.words)",
      metadata: [
        "epoch": "\(record.epoch)", "reason": "\(vacancy.reason.rawValue)",
        "previous": "\(before?.holder ?? "none")",
      ])
    board.update { [record] in
      $0.leadership.isLeader = true
      $0.leadership.hasOtherConfiguration = false
      $0.leadership.note(record)
      $0.leadership.renewedAt = sentAt
      $0.leadership.taken[vacancy.reason, default: 0] += 1
    }
    let keeper = Task { [self, record] in await keep(tenure, record, revision) }
    state.withLock { [record] in
      $0.tenure = tenure
      $0.standby = nil
      $0.tenures += 1
      $0.highestEpoch = max($0.highestEpoch, record.epoch)
      $0.keeper = keeper
    }
    return tenure
  }

  /// Whoever finds nobody there takes over at once: nothing is published from the moment this instance knows.
  private func holdBack(_ tenure: Tenure, without connection: NATSConnection, number: Int) {
    connection.closed.whenComplete { _ in tenure.lost(link: number) }
  }

  /// Waits until a lapsed lease is renewed. False: another instance leads now, or this one is stopping.
  func confirm(_ tenure: Tenure, _ isStopping: @Sendable () -> Bool) async -> Bool {
    while !tenure.isCurrent {
      guard tenure.endedBy == nil, !isStopping() else { return false }
      try? await eventLoop.sleep(for: Self.askingAgain)
    }
    return true
  }

  /// Standbys are answered on the connection that publishes, too. While a server has that, nobody takes over before the
  /// lease expires, even where the lease's own connection is gone and this instance has not heard of it.
  ///
  /// - Returns: false where they were already.
  @discardableResult
  func answer(on connection: NATSConnection) async -> Bool {
    guard !DeliberateError.isOn(.answersOnLeaseOnly) else { return false }
    let isNew = state.withLock { state in
      defer { state.answering = connection }
      return state.answering !== connection
    }
    if isNew { _ = await subject.listen(on: connection) }
    return isNew
  }

  /// Waits, where a lease that has not lapsed has to be renewed on another connection, or the one that publishes is a new
  /// one: standbys may have found nobody before it. Not before an epoch has connected: what NATS has against it is to be
  /// reported.
  func resume(
    _ tenure: Tenure, for connection: NATSConnection, _ isStopping: @Sendable () -> Bool
  ) async {
    let isNew = await answer(on: connection)
    let since = ContinuousClock.now
    if isNew { state.withLock { $0.wantsRenewal = true } }
    while tenure.isPaused || isNew && !tenure.isRenewed(since: since), tenure.isCurrent,
      !connection.hasEnded, !isStopping()
    {
      try? await eventLoop.sleep(for: Self.askingAgain)
    }
  }

  /// This instance doesn't lead any more.
  func standDown() async {
    let keeper = state.withLock { state in
      defer {
        state.tenure = nil
        state.keeper = nil
        state.answering = nil
      }
      return state.keeper
    }
    keeper?.cancel()
    await keeper?.value
    onChange(nil)
    board.update { $0.leadership.isLeader = false }
    // The leader's subject is given up with it.
    await link.drop()
  }

  /// Renews until cancelled, or until another instance has taken the lease.
  private func keep(_ tenure: Tenure, _ taken: LeaseRecord, _ first: UInt64) async {
    var record = taken
    var revision = first
    var answering: NATSConnection? = link.present
    var links = 1
    var pause = renewal
    var failures = 0
    while !Task.isCancelled {
      await rest(pause)
      guard !Task.isCancelled else { return }
      do {
        let connection = try await link.connection()
        if answering !== connection {
          record.answers = await subject.listen(on: connection)
          answering = connection
          links += 1
          if record.answers { holdBack(tenure, without: connection, number: links) }
        }
        record.configurationHash = configurationHash
        record.heardAt = state.withLock { $0.heardAt }
        // Once it has lapsed, anything can have happened: also to a bucket that was made again, and may by chance have
        // the revision that is expected.
        if !tenure.mayPublish {
          let (found, _) = try await store.read(connection)
          guard let known = found.record, known.holder == settings.instance,
            known.epoch == record.epoch
          else {
            lose(tenure, to: found.record)
            return
          }
        }
        let sentAt = ContinuousClock.now
        if let written = try await store.write(record, expecting: revision, connection) {
          revision = written
          failures = 0
          tenure.renewed(sentAt: sentAt, period: settings.period, on: links)
          board.update { [record] in
            $0.leadership.note(record)
            $0.leadership.renewedAt = sentAt
          }
          pause = renewal
          continue
        }
        // A write of ours whose answer was lost, a bucket made again, or somebody else.
        let (found, _) = try await store.read(connection)
        if let other = found.record, other.holder != settings.instance || other.epoch > record.epoch
        {
          lose(tenure, to: other)
          return
        }
        revision = found.revision
        pause = .zero
      } catch {
        // The epoch reports what is wrong with NATS; a lease that lapses stops it.
        failures += 1
        // A connection may be dead without an end; while a bucket has no leader, none is better.
        if failures % 2 == 0 || link.isLost { await link.drop() }
        pause = Self.asking
        let replicas = state.withLock { $0.replicas }
        if let connection = try? await link.connection(),
          await store.makeBucketAgain(replicas: replicas, connection)
        {
          revision = 0
          pause = .zero
        }
      }
    }
  }

  /// Not longer than the connection lasts: until the lease is renewed on another, nothing is published.
  private func rest(_ pause: Duration) async {
    let end = ContinuousClock.now + pause
    while !Task.isCancelled, !link.isLost, !takeWish() {
      let left = end - .now
      guard left > .zero else { return }
      try? await eventLoop.sleep(for: min(left, Self.lookingAtLink))
    }
  }

  private func takeWish() -> Bool {
    state.withLock { state in
      defer { state.wantsRenewal = false }
      return state.wantsRenewal
    }
  }

  private func lose(_ tenure: Tenure, to other: LeaseRecord?) {
    logger.warning(
      "this instance leads no longer",
      metadata: [
        "leader": "\(other?.holder ?? "none: the lease is gone")", "epoch": "\(other?.epoch ?? 0)",
      ])
    board.update { $0.leadership.note(other) }
    tenure.end(by: other?.holder ?? "none")
  }

  /// So that the next leader need not wait.
  ///
  /// - Parameter isDrained: everything that was sent is acknowledged.
  func release(isDrained: Bool) async {
    // Not for long: what is not released expires.
    let attempt = Task { await giveUp(isDrained) }
    let limit = eventLoop.scheduleTask(in: TimeAmount(Self.releaseLimit)) { attempt.cancel() }
    await attempt.value
    limit.cancel()
  }

  private static let releaseLimit = Duration.seconds(2)

  private func giveUp(_ isDrained: Bool) async {
    guard tenure != nil, tenure?.endedBy == nil else { return await standDown() }
    let keeper = state.withLock { $0.keeper }
    keeper?.cancel()
    await keeper?.value
    if let connection = try? await link.connection() {
      // A renewal may be on its way.
      for _ in 0..<3 {
        guard let (found, _) = try? await store.read(connection), var record = found.record,
          record.holder == settings.instance
        else { break }
        record.isReleased = true
        record.isDrained = isDrained
        if (try? await store.write(record, expecting: found.revision, connection)) ?? nil != nil {
          break
        }
      }
    }
    await standDown()
  }

}

extension ServerTime {
  /// In seconds, by a wall clock.
  fileprivate func age(by now: Date) -> Double { now.timeIntervalSince1970 - Double(seconds) }
}
