internal import BSON
internal import Logging
internal import Oplog

/// The image reader thread's work: connect, read what a request needs, and retry after an error.
struct ImageThread {
  private let mailbox: ImageMailbox
  private var connected: Connected?
  private var retries = Retries()
  /// Maximum images per answer; lowered for large documents.
  private var imagesPerAnswer = Int.max

  /// A find requests at most this many documents …
  private static let idsPerFind = 1000
  /// … by ids of at most this many bytes: a command is limited to 16 MB.
  private static let idBytesPerFind = 8 << 20
  /// One more than can be found, so that the first reply closes the cursor unless it is too large.
  private static let batchSize = idsPerFind + 1

  private struct Connected {
    var connection: MongoConnection
    var server: MongoConnection.Server
    var capabilities: ServerCapabilities
  }

  /// Why a request isn't answered yet.
  private enum Interruption: Error {
    case failed(MongoError)
    /// The documents take too much memory.
    case tooLarge
    case superseded
  }

  init(_ mailbox: ImageMailbox) { self.mailbox = mailbox }

  /// Returns when the request is answered or its generation has ended.
  mutating func serve(_ assignment: ImageMailbox.Assignment) {
    let generation = assignment.generation
    var work = ImageWork(assignment.request, limit: imagesPerAnswer)
    while mailbox.isCurrent(generation) {
      do {
        let connected = try connect(generation)
        try read(&work, connected, generation)
        recovered()
        // Recovers step by step.
        if imagesPerAnswer < Int.max / 2 { imagesPerAnswer *= 2 }
        mailbox.answer(
          assignment,
          ImageAnswer(generation: generation, images: work.images, replies: work.replies))
        return
      } catch {
        switch error {
        case .superseded: return
        case .tooLarge:
          imagesPerAnswer = max(work.limit / 2, 1)
          work = ImageWork(assignment.request, limit: imagesPerAnswer)
        case .failed(let error):
          work.rollBack()
          retryLater(error, generation)
        }
      }
    }
  }

  /// Closes the connection, on the thread it belongs to.
  mutating func end() { connected = nil }

  // MARK: The connection

  private mutating func connect(_ generation: UInt64) throws(Interruption) -> Connected {
    if let connected { return connected }
    let options = mailbox.options
    let made = try attempt { () throws(MongoError) in
      let connection = try MongoConnection(options)
      let server = try connection.selectServer()
      // Cursors belong to a session.
      try connection.startSession()
      let capabilities = ServerCapabilities(version: try connection.version(server))
      return Connected(connection: connection, server: server, capabilities: capabilities)
    }
    connected = made
    mailbox.update(generation: generation) { $0.host = made.server.host }
    return made
  }

  private mutating func retryLater(_ error: MongoError, _ generation: UInt64) {
    // A new connection is cheap, and selects a server again.
    connected = nil
    let failure = retries.failed(
      error, mailbox.logger, "retrying the reads of full documents")
    mailbox.update(generation: generation) { status in
      status.phase = .retrying(reason: error.description, attempt: failure.attempt)
      status.lastError = error
    }
    mailbox.pause(failure.pause, generation: generation)
  }

  private mutating func recovered() {
    guard retries.succeeded() else { return }
    mailbox.logger.info("reads of full documents work again")
  }

  private func attempt<T>(_ body: () throws(MongoError) -> T) throws(Interruption) -> T {
    do {
      return try body()
    } catch {
      throw .failed(error)
    }
  }

  // MARK: One request

  private func read(
    _ work: inout ImageWork, _ connected: Connected, _ generation: UInt64
  ) throws(Interruption) {
    mailbox.update(generation: generation) { $0.phase = .reading }
    while let read = work.nextRead(connected.capabilities) {
      try readAtClusterTime(read, &work, connected, generation)
    }
    for collection in work.unverified.keys.sorted() {
      let current = try currentName(of: collection, work, connected)
      work.verify(collection, isTheSame: current == work.catalog.collections[collection].name)
    }
    for collection in work.lookups.keys.sorted() {
      try lookUp(collection, &work, connected, generation)
    }
    while let some = work.nextPreImages(atMost: Self.idsPerFind) {
      let found =
        connected.capabilities.keepsPreImages ? try find(some, &work, connected, generation) : [:]
      work.finish(preImages: some, found)
    }
  }

  /// Reads documents of one collection at one cluster time.
  private func readAtClusterTime(
    _ read: ImagePlan.Read, _ work: inout ImageWork, _ connected: Connected, _ generation: UInt64
  ) throws(Interruption) {
    let collection = work.catalog.collections[read.collection]
    let checks = connected.capabilities.checksUUIDs
    let find = CollectionFind(
      database: collection.database, name: collection.name, uuid: checks ? collection.uuid : nil,
      view: .clusterTime(read.time), batchSize: Self.batchSize)
    do {
      let documents = work.documents(of: read)
      let found = try self.find(
        documents, in: read.collection, find, &work, connected, generation)
      work.finish(read, found, isVerified: checks || collection.uuid == nil)
    } catch .failed(let error) where error.domain == .server {
      switch error.code {
      case ServerCode.snapshotTooOld: work.refuse(read, everywhere: true)
      // Dropped, renamed or created since then.
      case ServerCode.snapshotUnavailable, ServerCode.collectionUUIDMismatch:
        work.refuse(read, everywhere: false)
      default: throw .failed(error)
      }
    } catch {
      throw error
    }
  }

  /// Reads current documents, from the same collection that the events are about.
  private func lookUp(
    _ number: Int, _ work: inout ImageWork, _ connected: Connected, _ generation: UInt64
  ) throws(Interruption) {
    let collection = work.catalog.collections[number]
    let (documents, notBefore) = work.documents(toLookUpIn: number)
    let view = CollectionView.latest(
      majority: mailbox.options.readConcernMajority, notBefore: notBefore)
    var find = CollectionFind(
      database: collection.database, name: collection.name, uuid: nil, view: view,
      batchSize: Self.batchSize)
    guard collection.uuid != nil else {
      let found = try self.find(documents, in: number, find, &work, connected, generation)
      work.finishLookups(in: number, found)
      return
    }
    // The collection may have been renamed.
    guard let name = try currentName(of: number, work, connected) else {
      work.finishLookups(in: number, [:])
      return
    }
    find.name = name
    if connected.capabilities.checksUUIDs { find.uuid = collection.uuid }
    let found = try self.find(documents, in: number, find, &work, connected, generation)
    if !connected.capabilities.checksUUIDs,
      try currentName(of: number, work, connected) != name
    {
      throw .failed(
        MongoError(
          domain: .reply, message: "the collection was renamed meanwhile", place: find.place,
          isTransient: true))
    }
    work.finishLookups(in: number, found)
  }

  /// The collection's current name; nil if it no longer exists.
  private func currentName(
    of number: Int, _ work: ImageWork, _ connected: Connected
  ) throws(Interruption) -> [UInt8]? {
    let collection = work.catalog.collections[number]
    guard let uuid = collection.uuid else { return collection.name }
    return try attempt { () throws(MongoError) in
      try connected.connection.name(
        of: uuid, database: collection.database, on: connected.server)
    }
  }

  // MARK: Finds

  /// Finds documents by `_id`, in as few commands as possible. The views point into the replies that
  /// `work` keeps.
  private func find(
    _ documents: [Int], in collection: Int, _ find: CollectionFind, _ work: inout ImageWork,
    _ connected: Connected, _ generation: UInt64
  ) throws(Interruption) -> [Int: BSONView] {
    var found: [Int: BSONView] = [:]
    var rest = documents[...]
    var command = ByteWriter()
    while !rest.isEmpty {
      var bytes = 0
      let some = rest.prefix(Self.idsPerFind).prefix { document in
        let isFirst = bytes == 0
        bytes += work.catalog.documents[document].id.count + 16
        return isFirst || bytes <= Self.idBytesPerFind
      }
      rest = rest.dropFirst(some.count)
      find.write(into: &command) { command in
        let filter = command.beginDocument(key: "filter")
        let id = command.beginDocument(key: "_id")
        let list = command.beginArray(key: "$in")
        for (index, document) in some.enumerated() {
          command.append(index: index, identity: work.catalog.documents[document].id)
        }
        command.endDocument(list)
        command.endDocument(id)
        command.endDocument(filter)
      }
      let catalog = work.catalog
      try pages(
        of: command, find.name, find.database, find.place, &work, connected, generation
      ) { document throws(BSONError) in
        guard let id = try document.first("_id") else { return }
        for number in catalog.documents(in: collection, id: id)
        where catalog.matches(number, document) {
          found[number] = document
        }
      }
    }
    return found
  }

  /// Reads pre-images of one collection. They are ordered as in `config.system.preimages`.
  private func find(
    _ wanted: ArraySlice<ImageCatalog.PreImage>, _ work: inout ImageWork, _ connected: Connected,
    _ generation: UInt64
  ) throws(Interruption) -> [Int: BSONView] {
    guard let first = wanted.first, let last = wanted.last else { return [:] }
    let find = CollectionFind(
      database: "config", name: Array("system.preimages".utf8),
      view: .latest(majority: mailbox.options.readConcernMajority, notBefore: last.entry),
      batchSize: Self.batchSize)
    var command = ByteWriter()
    find.write(into: &command) { command in
      let filter = command.beginDocument(key: "filter")
      let id = command.beginDocument(key: "_id")
      // Without bounds $in would scan all pre-images.
      first.write(command.beginDocument(key: "$gte"), into: &command)
      last.write(command.beginDocument(key: "$lte"), into: &command)
      let list = command.beginArray(key: "$in")
      for (index, preImage) in wanted.enumerated() {
        preImage.write(command.beginDocument(index: index), into: &command)
      }
      command.endDocument(list)
      command.endDocument(id)
      command.endDocument(filter)
    }
    var found: [Int: BSONView] = [:]
    let numbers = Dictionary(
      wanted.map { (PreImageKey(entry: $0.entry, operation: $0.operation), [$0.image]) },
      uniquingKeysWith: +)
    try pages(
      of: command, find.name, find.database, find.place, &work, connected, generation
    ) { document throws(BSONError) in
      guard let key = try PreImageKey(document),
        let image = try document.first("preImage")?.document
      else { return }
      for number in numbers[key] ?? [] { found[number] = image }
    }
    return found
  }

  /// Runs a find to its end. `work` keeps the replies, which the views passed to `body` point into.
  private func pages(
    of command: borrowing ByteWriter, _ name: [UInt8], _ database: String, _ place: String,
    _ work: inout ImageWork, _ connected: Connected, _ generation: UInt64,
    _ body: (BSONView) throws(BSONError) -> Void
  ) throws(Interruption) {
    var page: MongoConnection.Page
    do {
      page = try connected.connection.page(
        command, database: database, on: connected.server, place: place)
    } catch {
      throw .failed(error)
    }
    while true {
      mailbox.update(generation: generation) { $0.roundTrips += 1 }
      work.keep(page.bytes)
      do {
        var walk = page.reply.documents.elements()
        while let element = try walk.next() {
          guard let document = element.document else { continue }
          try body(document)
        }
      } catch {
        throw .failed(
          MongoError(
            domain: .reply, message: error.description, place: place, isTransient: true))
      }
      let cursor = page.reply.cursor
      let tooLarge = work.byteCount > mailbox.bytesPerAnswer && work.limit > 1
      guard !tooLarge, mailbox.isCurrent(generation) else {
        if cursor != 0 {
          connected.connection.kill(cursor, of: name, database: database, on: connected.server)
        }
        throw tooLarge ? .tooLarge : .superseded
      }
      guard cursor != 0 else { return }
      page = try attempt { () throws(MongoError) in
        try connected.connection.next(
          cursor, of: name, database: database, batchSize: Self.batchSize,
          on: connected.server, place: place)
      }
    }
  }
}

/// Identifies a pre-image within its collection.
private struct PreImageKey: Hashable {
  var entry: OplogPosition
  var operation: Int64

  init(entry: OplogPosition, operation: Int64) {
    self.entry = entry
    self.operation = operation
  }

  /// Reads the key of a document in `config.system.preimages`.
  init?(_ document: BSONView) throws(BSONError) {
    guard let id = try document.first("_id")?.document,
      let time = try id.first("ts")?.timestamp,
      let operation = try id.first("applyOpsIndex")?.integer
    else { return nil }
    entry = OplogPosition(seconds: time.seconds, increment: time.increment)
    self.operation = operation
  }
}

extension ImageCatalog.PreImage {
  /// Writes the `_id` of its document into the document begun at `mark`.
  fileprivate func write(_ mark: Int, into command: inout ByteWriter) {
    command.append(key: "nsUUID", uuid: uuid)
    command.append(key: "ts", timestamp: entry.seconds, increment: entry.increment)
    command.append(key: "applyOpsIndex", int64: operation)
    command.endDocument(mark)
  }
}
