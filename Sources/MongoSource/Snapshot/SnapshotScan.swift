internal import BSON
internal import Logging
internal import Oplog

/// The snapshot reader thread's work for one `restart`: list the collections and read them page by
/// page; continue after the last page after an error.
struct SnapshotScan {
  typealias Mailbox = ReaderMailbox<SnapshotBatch, SnapshotMarker?, SnapshotStatus>

  private let mailbox: Mailbox
  private let scope: SnapshotScope
  private let generation: UInt64
  private let marker: SnapshotMarker?
  /// Set once the collections are listed.
  private var state: SnapshotState?
  private var retries = Retries()

  /// How often to check that the oplog still holds the position to tail from: a long snapshot must not
  /// learn only at its end that it is lost.
  private static let positionCheck = Duration.seconds(10)

  /// How long the server may scan its oplog.
  private static let oplogScanTimeout = Duration.seconds(600)

  private enum End: Error {
    /// `restart` or `stop`.
    case superseded
    /// Retry with a new connection, after a pause.
    case interrupted(MongoError)
    case failed(SourceFailure)
  }

  private struct Connected {
    var connection: MongoConnection
    var server: MongoConnection.Server
    var capabilities: ServerCapabilities
  }

  init(
    _ mailbox: Mailbox, _ scope: SnapshotScope, generation: UInt64,
    from marker: SnapshotMarker?
  ) {
    self.mailbox = mailbox
    self.scope = scope
    self.generation = generation
    self.marker = marker
  }

  /// Returns when everything is read, or the generation has ended or failed.
  mutating func run() {
    while mailbox.isCurrent(generation) {
      do {
        try scan()
        return
      } catch {
        switch error {
        case .superseded: return
        case .failed(let failure):
          mailbox.fail(failure, generation: generation)
          return
        case .interrupted(let error):
          if error.domain == .configuration, !error.isTransient {
            mailbox.fail(.unsupported("source.uri: \(error.message)"), generation: generation)
            return
          }
          mailbox.pause(
            after: error, &retries, "the snapshot continues after a retry", generation: generation)
        }
      }
    }
  }

  private mutating func recovered(_ host: String) {
    guard retries.succeeded() else { return }
    mailbox.update(generation: generation) { $0.reopens += 1 }
    mailbox.logger.info("the snapshot continues on \(host)")
  }

  private mutating func scan() throws(End) {
    let connected = try connect()
    if state == nil { try open(connected) }
    if !connected.capabilities.readsAtClusterTime { state?.loseHistory(everywhere: true) }
    mailbox.update(generation: generation) { $0.phase = .reading }
    var checked = ContinuousClock.now
    while let collection = state?.current {
      guard mailbox.isCurrent(generation) else { throw .superseded }
      if ContinuousClock.now - checked > Self.positionCheck {
        try checkPosition(connected)
        checked = .now
      }
      try readPage(of: collection, connected)
      recovered(connected.server.host)
    }
    guard let position = state?.position else { return }
    mailbox.update(generation: generation) { status in
      status.progress.namespace = nil
      status.phase = .finished(tailFrom: position)
    }
  }

  // MARK: Opening

  private func connect() throws(End) -> Connected {
    let options = mailbox.options
    let connected = try attempt { () throws(MongoError) in
      let connection = try MongoConnection(options)
      let server = try connection.selectServer()
      // Cursors belong to a session.
      try connection.startSession()
      return Connected(
        connection: connection, server: server,
        capabilities: ServerCapabilities(version: try connection.version(server)))
    }
    if let reason = connected.server.unsupported { throw .failed(.unsupported(reason)) }
    mailbox.update(generation: generation) { $0.host = connected.server.host }
    return connected
  }

  /// Determines the position, then lists the collections: those that existed at the position, except
  /// dropped ones. Newer ones are redundant but harmless: the oplog has their documents too.
  private mutating func open(_ connected: Connected) throws(End) {
    let (connection, server) = (connected.connection, connected.server)
    let position = if let marker { marker.position } else { try majority(connected) }
    mailbox.update(generation: generation) { $0.position = position }
    let holder = marker == nil ? server : try checkPosition(connected, position)
    let collections = try collections(connected, position, holder)
    let isExact = connected.capabilities.readsAtClusterTime
    let state =
      if let marker {
        SnapshotState(
          mailbox.options, after: marker, isExact: isExact, collections: collections)
      } else {
        SnapshotState(
          mailbox.options, position: position, isExact: isExact, collections: collections)
      }
    let rest = state.collections
    let size = try attempt { () throws(MongoError) in
      var sum: (documents: UInt64, bytes: UInt64) = (0, 0)
      for collection in rest {
        guard let size = try connection.size(of: collection, on: server) else { continue }
        sum.documents &+= size.documents
        sum.bytes &+= size.bytes
      }
      return sum
    }
    self.state = state
    mailbox.update(generation: generation) { status in
      status.progress.begin(documents: state.documents, bytes: state.bytes, at: .now)
      status.progress.expect(documents: size.documents, bytes: size.bytes)
      status.progress.collections = collections.count
      status.progress.collectionsDone = collections.count - rest.count
      status.isExact = state.isExact
    }
    mailbox.logger.info(
      "snapshot of \(rest.count) collections, about \(size.documents) documents, at \(position)")
  }

  /// The collections to read, with their names at the position.
  /// - Parameter holder: a server whose oplog holds the position.
  private func collections(
    _ connected: Connected, _ position: ResumePoint, _ holder: MongoConnection.Server
  ) throws(End) -> [SnapshotCollection] {
    let (connection, server) = (connected.connection, connected.server)
    let (options, scope) = (mailbox.options, scope)
    return try attempt { () throws(MongoError) in
      var found = try connection.collections(
        in: scope.lists, notBefore: position.position, on: server)
      // Read after the list, so that no rename before the list is missed.
      if scope.leadsToTail {
        let reader = try MongoConnection(options, replyTimeout: Self.oplogScanTimeout)
        let names = try reader.collectionNames(
          since: position.position, on: reader.server(at: holder.host))
        found = found.compactMap { names.atPosition($0) }
      }
      return found.filter {
        scope.includes($0.database, String(decoding: $0.reportedName, as: UTF8.self))
      }
    }
  }

  private func majority(_ connected: Connected) throws(End) -> ResumePoint {
    let hello = try attempt { () throws(MongoError) in
      try connected.connection.hello(connected.server)
    }
    guard let majority = hello.majority else {
      throw .interrupted(
        MongoError(
          domain: .reply,
          message: "\(connected.server.host) doesn't know yet what a majority of its set has",
          place: "hello", isTransient: true))
    }
    return majority
  }

  // MARK: The position to tail from

  private func checkPosition(_ connected: Connected) throws(End) {
    guard let position = state?.position else { return }
    _ = try checkPosition(connected, position)
  }

  /// Fails if no member holds the position any more: the snapshot would be useless.
  /// - Returns: a member that holds it.
  private func checkPosition(
    _ connected: Connected, _ position: ResumePoint
  ) throws(End) -> MongoConnection.Server {
    let (connection, server) = (connected.connection, connected.server)
    guard scope.leadsToTail else { return server }
    let majority = mailbox.options.readConcernMajority
    let found = try attempt { () throws(MongoError) in
      try connection.firstEntry(from: position.position, majority: majority, on: server)
    }
    guard let found else {
      throw .interrupted(
        MongoError(
          domain: .reply, message: "\(server.host) does not have \(position) yet",
          place: "find on local.oplog.rs", isTransient: true))
    }
    if position.matches(found.point) { return server }
    var unasked: [String] = []
    if !connection.primaryOnly {
      for member in try attempt({ () throws(MongoError) in try connection.members() })
      where member.host != server.host {
        do {
          let entry = try connection.firstEntry(
            from: position.position, majority: majority, on: member)
          if let entry, position.matches(entry.point) { return member }
        } catch {
          unasked.append(member.host)
        }
      }
    }
    let oldest = try attempt { () throws(MongoError) in try connection.oldestEntry(on: server) }
    let isOlder = oldest.map { position.position < $0.point.position } ?? false
    throw .failed(
      .positionLost(
        PositionLost(
          reason: isOlder ? .rolledOver : .rolledBack, expected: position, found: found.point,
          oldest: oldest?.point, newest: server.hello.lastWrite, host: server.host,
          unasked: unasked)))
  }

  // MARK: Pages

  private mutating func readPage(
    of collection: SnapshotCollection, _ connected: Connected
  ) throws(End) {
    guard var state else { return }
    defer { self.state = state }
    let isExact = state.collectionIsExact
    mailbox.update(generation: generation) { status in
      status.phase = .reading
      status.progress.namespace = collection.namespace
      if !isExact { status.isExact = false }
    }
    let find = CollectionFind(
      database: collection.database, name: collection.name,
      uuid: connected.capabilities.checksUUIDs ? collection.uuid : nil,
      view: isExact
        ? .clusterTime(state.position.position)
        : .latest(
          majority: mailbox.options.readConcernMajority, notBefore: state.position.position),
      // One more than the limit, so that the limit closes the cursor.
      batchSize: state.limit + 1)
    let page: SnapshotPage
    do {
      page = try fetch(state, find, connected)
    } catch .interrupted(let error) where error.domain == .server {
      try overcome(error, &state, connected)
      return
    } catch {
      throw error
    }
    let wasCut = page.page.reply.cursor != 0
    if wasCut {
      // The page exceeds the maximum size of a reply.
      connected.connection.kill(
        page.page.reply.cursor, of: collection.name, database: collection.database,
        on: connected.server)
    }
    let isEnd =
      (!wasCut && page.count < state.limit) || page.last == SnapshotState.greatestID
    if isEnd, !connected.capabilities.checksUUIDs, try wasMoved(collection, &state, connected) {
      return
    }
    let isDone = state.advance(
      documents: page.count, bytes: page.byteCount, last: page.last, isEnd: isEnd)
    try deliver(page, of: collection, isExact: isExact, isDone: isDone, &state)
  }

  private func fetch(
    _ state: SnapshotState, _ find: CollectionFind, _ connected: Connected
  ) throws(End) -> SnapshotPage {
    var command = ByteWriter()
    SnapshotPage.write(state, find, into: &command)
    do {
      let page = try connected.connection.page(
        command, database: find.database, on: connected.server, place: find.place)
      return try SnapshotPage(page)
    } catch let error as MongoError {
      throw .interrupted(error)
    } catch {
      throw .failed(.corruptReply("\(find.place): \(error)"))
    }
  }

  private func deliver(
    _ page: SnapshotPage, of collection: SnapshotCollection, isExact: Bool, isDone: Bool,
    _ state: inout SnapshotState
  ) throws(End) {
    defer { if isDone { finishCollection(&state) } }
    guard page.count > 0 || isDone, let marker = state.marker(isDone: isDone) else { return }
    let batch = SnapshotBatch(
      page.page, of: collection, isExact: isExact, count: page.count, byteCount: page.byteCount,
      isLast: isDone, marker: marker, generation: generation)
    let isQueued = mailbox.deliver(batch) { status in
      status.progress.add(documents: batch.count, bytes: batch.byteCount, at: .now)
    }
    guard isQueued else { throw .superseded }
  }

  private func finishCollection(_ state: inout SnapshotState) {
    state.nextCollection()
    mailbox.update(generation: generation) { $0.progress.collectionsDone += 1 }
  }

  // MARK: Server refusals

  private func overcome(
    _ error: MongoError, _ state: inout SnapshotState, _ connected: Connected
  ) throws(End) {
    guard let collection = state.current else { return }
    switch error.code {
    case ServerCode.snapshotTooOld where state.collectionIsExact:
      mailbox.logger.notice(
        """
        the server no longer keeps the state at \(state.position.position) \
        (minSnapshotHistoryWindowInSeconds): the snapshot continues with current documents, and the \
        oplog after that position repeats changes that they already include
        """)
      state.loseHistory(everywhere: true)
    case ServerCode.snapshotUnavailable where state.collectionIsExact:
      mailbox.logger.notice(
        """
        \(collection.namespace) can't be read as of \(state.position.position), because it is capped, \
        or was created or renamed since: reading its current documents
        """)
      state.loseHistory(everywhere: false)
    case ServerCode.collectionUUIDMismatch:
      guard try !wasMoved(collection, &state, connected) else { return }
      // At the position, its current name belonged to another collection or to none.
      guard state.collectionIsExact else { throw .interrupted(error) }
      state.loseHistory(everywhere: false)
    case ServerCode.badValue where !state.lacksIndex:
      mailbox.logger.warning(
        "\(collection.namespace) seems to have no index on _id; reading it is slow: \(error)")
      state.goWithoutIndex()
    default: throw .interrupted(error)
    }
    mailbox.update(generation: generation) { $0.isExact = false }
  }

  /// Whether the collection was renamed or dropped. A renamed one is continued under its new name, a
  /// dropped one skipped.
  private func wasMoved(
    _ collection: SnapshotCollection, _ state: inout SnapshotState, _ connected: Connected
  ) throws(End) -> Bool {
    let name = try attempt { () throws(MongoError) in
      try connected.connection.name(
        of: collection.uuid, database: collection.database, on: connected.server)
    }
    guard name != collection.name else { return false }
    if let name {
      mailbox.logger.notice(
        "\(collection.namespace) was renamed to \(String(decoding: name, as: UTF8.self))")
      state.rename(to: name)
    } else {
      mailbox.logger.notice("\(collection.namespace) was dropped before it was read")
      finishCollection(&state)
    }
    mailbox.update(generation: generation) { status in
      status.isExact = false
      if name == nil { status.dropped.append(collection.namespace) }
    }
    return true
  }

  private func attempt<T>(_ body: () throws(MongoError) -> T) throws(End) -> T {
    do {
      return try body()
    } catch {
      throw .interrupted(error)
    }
  }
}
