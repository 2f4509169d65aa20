internal import BSON
internal import Logging
internal import Oplog

/// The snapshot reader's thread at work for one `restart`: find out what there is, read it page by
/// page; after an error, again from the last page.
struct SnapshotScan {
  private let mailbox: SnapshotMailbox
  private let generation: UInt64
  private let marker: SnapshotMarker?
  /// Set once it is known what there is.
  private var course: SnapshotCourse?
  private var backoff = Backoff()
  /// Reading is interrupted, which the log was told.
  private var outage = false

  /// How often the position to tail from is looked after: a long snapshot must not find out at its
  /// end that the oplog has grown past it.
  private static let positionCheck = Duration.seconds(10)

  /// How long the server may look through its oplog.
  private static let oplogPatience = Duration.seconds(600)

  private enum End: Error {
    /// `restart` or `stop`.
    case superseded
    /// To be overcome by another connection.
    case interrupted(MongoError)
    case failed(SourceFailure)
  }

  private struct Connected {
    var connection: MongoConnection
    var server: MongoConnection.Server
    var age: ServerAge
  }

  init(_ mailbox: SnapshotMailbox, generation: UInt64, from marker: SnapshotMarker?) {
    self.mailbox = mailbox
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
      mailbox.logger.warning("\(error); the snapshot goes on as soon as it works")
    }
    mailbox.pause(pause, generation: generation)
  }

  private mutating func recovered(_ host: String) {
    backoff.reset()
    guard outage else { return }
    outage = false
    mailbox.update(generation: generation) { $0.reopens += 1 }
    mailbox.logger.info("the snapshot goes on at \(host)")
  }

  private mutating func scan() throws(End) {
    let connected = try connect()
    if course == nil { try open(connected) }
    if !connected.age.hasSnapshots { course?.loseHistory(everywhere: true) }
    mailbox.update(generation: generation) { $0.phase = .reading }
    var checked = ContinuousClock.now
    while let collection = course?.current {
      guard mailbox.isCurrent(generation) else { throw .superseded }
      if ContinuousClock.now - checked > Self.positionCheck {
        try checkPosition(connected)
        checked = .now
      }
      try readPage(of: collection, connected)
      recovered(connected.server.host)
    }
    guard let position = course?.position else { return }
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
        age: ServerAge(version: try connection.version(server)))
    }
    if let reason = connected.server.unsupported { throw .failed(.unsupported(reason)) }
    mailbox.update(generation: generation) { $0.host = connected.server.host }
    return connected
  }

  /// Fixes the position, then finds the collections: those that there are at that position, but for
  /// what was dropped since. Newer ones are read in vain, not wrongly.
  private mutating func open(_ connected: Connected) throws(End) {
    let (connection, server) = (connected.connection, connected.server)
    let position = if let marker { marker.position } else { try majority(connected) }
    mailbox.update(generation: generation) { $0.position = position }
    let holder = marker == nil ? server : try checkPosition(connected, position)
    let collections = try collections(connected, position, holder)
    let isExact = connected.age.hasSnapshots
    let course =
      if let marker {
        SnapshotCourse(
          mailbox.options, after: marker, isExact: isExact, collections: collections)
      } else {
        SnapshotCourse(
          mailbox.options, position: position, isExact: isExact, collections: collections)
      }
    let rest = course.collections
    let size = try attempt { () throws(MongoError) in
      var sum: (documents: UInt64, bytes: UInt64) = (0, 0)
      for collection in rest {
        guard let size = try connection.size(of: collection, on: server) else { continue }
        sum.documents &+= size.documents
        sum.bytes &+= size.bytes
      }
      return sum
    }
    self.course = course
    mailbox.update(generation: generation) { status in
      status.progress.begin(documents: course.documents, bytes: course.bytes, at: .now)
      status.progress.expect(documents: size.documents, bytes: size.bytes)
      status.progress.collections = collections.count
      status.progress.collectionsDone = collections.count - rest.count
      status.isExact = course.isExact
    }
    mailbox.logger.info(
      "snapshot of \(rest.count) collections, about \(size.documents) documents, at \(position)")
  }

  /// What is to be read, by the names at the position.
  /// - Parameter holder: a server whose oplog reaches back to it.
  private func collections(
    _ connected: Connected, _ position: ResumePoint, _ holder: MongoConnection.Server
  ) throws(End) -> [SnapshotCollection] {
    let (connection, server) = (connected.connection, connected.server)
    let filter = mailbox.filter
    let (options, leadsToTail) = (mailbox.options, mailbox.leadsToTail)
    return try attempt { () throws(MongoError) in
      var found = try connection.collections(notBefore: position.position, on: server)
      // Read behind the list: what it tells later doesn't matter, what it lacks would.
      if leadsToTail {
        let reader = try MongoConnection(options, replyTimeout: Self.oplogPatience)
        let names = try reader.collectionNames(
          since: position.position, on: reader.server(at: holder.host))
        found = found.compactMap { names.told($0) }
      }
      return found.filter {
        filter($0.database, String(decoding: $0.listedName, as: UTF8.self))
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
    guard let position = course?.position else { return }
    _ = try checkPosition(connected, position)
  }

  /// Fails if no member holds the position any more: what was read would be of no use.
  /// - Returns: one that does.
  private func checkPosition(
    _ connected: Connected, _ position: ResumePoint
  ) throws(End) -> MongoConnection.Server {
    let (connection, server) = (connected.connection, connected.server)
    guard mailbox.leadsToTail else { return server }
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
    guard var course else { return }
    defer { self.course = course }
    let isExact = course.collectionIsExact
    mailbox.update(generation: generation) { status in
      status.phase = .reading
      status.progress.namespace = collection.namespace
      if !isExact { status.isExact = false }
    }
    let find = CollectionFind(
      database: collection.database, name: collection.name,
      uuid: connected.age.checksUUIDs ? collection.uuid : nil,
      view: isExact
        ? .snapshot(course.position.position)
        : .latest(
          majority: mailbox.options.readConcernMajority, notBefore: course.position.position),
      // One more than the limit, so that the limit ends the cursor.
      batchSize: course.limit + 1)
    let page: SnapshotPage
    do {
      page = try fetch(course, find, connected)
    } catch .interrupted(let error) where error.domain == .server {
      try overcome(error, &course, connected)
      return
    } catch {
      throw error
    }
    let wasCut = page.page.reply.cursor != 0
    if wasCut {
      // Documents so large that a reply can't hold the page.
      connected.connection.kill(
        page.page.reply.cursor, of: collection.name, database: collection.database,
        on: connected.server)
    }
    let isEnd =
      (!wasCut && page.count < course.limit) || page.last == SnapshotCourse.greatestID
    if isEnd, !connected.age.checksUUIDs, try hasMoved(collection, &course, connected) { return }
    let isDone = course.advance(
      documents: page.count, bytes: page.byteCount, last: page.last, isEnd: isEnd)
    try deliver(page, of: collection, isExact: isExact, isDone: isDone, &course)
  }

  private func fetch(
    _ course: SnapshotCourse, _ find: CollectionFind, _ connected: Connected
  ) throws(End) -> SnapshotPage {
    var command = ByteWriter()
    SnapshotPage.write(course, find, into: &command)
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
    _ course: inout SnapshotCourse
  ) throws(End) {
    defer { if isDone { finishCollection(&course) } }
    guard page.count > 0 || isDone, let marker = course.marker(isDone: isDone) else { return }
    let batch = SnapshotBatch(
      page.page, of: collection, isExact: isExact, count: page.count, byteCount: page.byteCount,
      isLast: isDone, marker: marker, generation: generation)
    guard mailbox.deliver(batch) else { throw .superseded }
  }

  private func finishCollection(_ course: inout SnapshotCourse) {
    course.nextCollection()
    mailbox.update(generation: generation) { $0.progress.collectionsDone += 1 }
  }

  // MARK: What a server refuses

  private func overcome(
    _ error: MongoError, _ course: inout SnapshotCourse, _ connected: Connected
  ) throws(End) {
    guard let collection = course.current else { return }
    switch error.code {
    case ServerCode.snapshotTooOld where course.collectionIsExact:
      mailbox.logger.notice(
        """
        the server no longer keeps the state at \(course.position.position) \
        (minSnapshotHistoryWindowInSeconds): the snapshot goes on with present documents, and the \
        oplog from there on repeats some of what they have seen
        """)
      course.loseHistory(everywhere: true)
    case ServerCode.snapshotUnavailable where course.collectionIsExact:
      mailbox.logger.notice(
        """
        \(collection.namespace) can't be read as it was at \(course.position.position), because it \
        is capped, or was made or renamed since: its present documents are read
        """)
      course.loseHistory(everywhere: false)
    case ServerCode.collectionUUIDMismatch:
      guard try !hasMoved(collection, &course, connected) else { return }
      // Under its name now there was another one at the position, or none.
      guard course.collectionIsExact else { throw .interrupted(error) }
      course.loseHistory(everywhere: false)
    case ServerCode.badValue where !course.lacksIndex:
      mailbox.logger.warning(
        "\(collection.namespace) seems to have no index on _id, so reading it is slow: \(error)")
      course.goWithoutIndex()
    default: throw .interrupted(error)
    }
    mailbox.update(generation: generation) { $0.isExact = false }
  }

  /// Whether a collection's name stands for another one by now, or none: then it goes on under its
  /// new name, or not at all.
  private func hasMoved(
    _ collection: SnapshotCollection, _ course: inout SnapshotCourse, _ connected: Connected
  ) throws(End) -> Bool {
    let name = try attempt { () throws(MongoError) in
      try connected.connection.name(
        of: collection.uuid, database: collection.database, on: connected.server)
    }
    guard name != collection.name else { return false }
    if let name {
      mailbox.logger.notice(
        "\(collection.namespace) is called \(String(decoding: name, as: UTF8.self)) now")
      course.rename(to: name)
    } else {
      mailbox.logger.notice("\(collection.namespace) was dropped before it was read")
      finishCollection(&course)
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
