import BSON
public import Oplog

extension SimulatedReplicaSet {
  /// A collection that exists before the oplog begins, unless `create` is called.
  public func collection(_ database: String, _ name: String) -> CollectionID {
    collections.append(CollectionState(database, name, uuid: nextUUID()))
    return CollectionID(number: collections.count - 1)
  }

  public func session() -> SessionID {
    let user = nextUUID() + nextUUID()
    sessions.append(SessionState(lsid: EntryForm.lsid(nextUUID(), user: user)))
    return SessionID(number: sessions.count - 1)
  }

  // MARK: Single writes

  /// Changes a document.
  ///
  /// - Parameters:
  ///   - session: of a retryable write; nil: it isn't one.
  ///   - member: a member that takes itself for the primary, though another may have been elected; nil: the primary.
  /// - Returns: nil where there is no such primary.
  @discardableResult
  public func write(
    _ change: DocumentChange, in session: SessionID? = nil, on member: Int? = nil
  ) -> OplogPosition? {
    guard let member = writable(member) else { return nil }
    let place = collections[change.collection.number].place
    guard let session else {
      return position(
        append(to: member, term: members[member].term) { writer in
          EntryForm.change(&writer, change, in: place)
        })
    }
    // What a former primary knows of the session's transactions is not kept.
    if member != primary, transactions.contains(where: { $0.session == session }) { return nil }
    guard let number = nextNumber(in: session) else { return nil }
    let lsid = sessions[session.number].lsid
    let entry = append(
      to: member, term: members[member].term, statement: 0, previous: EntryForm.noLink
    ) { writer in
      EntryForm.session(&writer, lsid, number)
      EntryForm.change(&writer, change, in: place)
    }
    supersede(in: session, before: number, by: entry)
    return position(entry)
  }

  @discardableResult
  public func insert(
    _ collection: CollectionID, _ key: DocumentKey, value: Int64 = 0, padding: Int = 0
  ) -> OplogPosition? {
    write(DocumentChange(.insert, collection, key, value: value, padding: padding))
  }

  @discardableResult
  public func update(
    _ collection: CollectionID, _ key: DocumentKey, value: Int64 = 0, padding: Int = 0
  ) -> OplogPosition? {
    write(DocumentChange(.update, collection, key, value: value, padding: padding))
  }

  @discardableResult
  public func replace(
    _ collection: CollectionID, _ key: DocumentKey, value: Int64 = 0, padding: Int = 0
  ) -> OplogPosition? {
    write(DocumentChange(.replace, collection, key, value: value, padding: padding))
  }

  @discardableResult
  public func delete(_ collection: CollectionID, _ key: DocumentKey) -> OplogPosition? {
    write(DocumentChange(.delete, collection, key))
  }

  /// What a primary writes when nobody else does.
  @discardableResult
  public func noop(on member: Int? = nil) -> OplogPosition? {
    guard let member = writable(member) else { return nil }
    return position(
      append(to: member, term: members[member].term) { EntryForm.noop(&$0, "periodic noop") })
  }

  /// What `appendOplogNote` writes.
  @discardableResult
  public func note(on member: Int) -> OplogPosition? {
    guard let member = writable(member) else { return nil }
    return position(
      append(to: member, term: members[member].term) { EntryForm.noop(&$0, "tailrace: fence") })
  }

  // MARK: Commands

  /// Creates the collection: again, under another UUID, if there was one.
  @discardableResult
  public func create(_ collection: CollectionID) -> OplogPosition? {
    guard let member = writable(nil) else { return nil }
    let old = collections[collection.number]
    let state = CollectionState(old.database, old.name, uuid: nextUUID())
    collections[collection.number] = state
    return position(
      append(to: member, term: members[member].term) { writer in
        EntryForm.command(&writer, state) { writer in
          var name = state.name
          name.withUTF8 { writer.append(key: "create", string: .init($0)) }
          let index = writer.beginDocument(key: "idIndex")
          writer.append(key: "v", int32: 2)
          let key = writer.beginDocument(key: "key")
          writer.append(key: "_id", int32: 1)
          writer.endDocument(key)
          writer.append(key: "name", string: "_id_")
          writer.endDocument(index)
        }
      })
  }

  @discardableResult
  public func drop(_ collection: CollectionID, documents: Int32 = 0) -> OplogPosition? {
    guard let member = writable(nil) else { return nil }
    let state = collections[collection.number]
    return position(
      append(to: member, term: members[member].term) { writer in
        EntryForm.command(&writer, state) { writer in
          var name = state.name
          name.withUTF8 { writer.append(key: "drop", string: .init($0)) }
        }
        let count = writer.beginDocument(key: "o2")
        writer.append(key: "numRecords", int32: documents)
        writer.endDocument(count)
      })
  }

  /// Writes an entry that a server wrote, as it is.
  ///
  /// - Returns: nil where it isn't behind all that the primary has, or there is no primary.
  @discardableResult
  public func append(captured bytes: [UInt8]) throws(BSONError) -> OplogPosition? {
    guard let primary else { return nil }
    var entry = try Self.read(bytes)
    let log = members[primary].log
    entry.index = log.end
    let last = entries[log[log.end - 1]]
    guard entry.position > last.position, entry.term >= members[primary].term else { return nil }
    // As if it had been elected until then.
    members[primary].term = entry.term
    entry.start = arena.count
    entry.length = bytes.count
    arena.append(bytes)
    return position(add(entry, to: primary))
  }

  private static func read(_ bytes: [UInt8]) throws(BSONError) -> SimulatedEntry {
    let zero = OplogPosition(seconds: 0, increment: 0)
    var entry = SimulatedEntry(
      position: zero, term: -1, index: 0, previous: zero, wallTime: 0, start: 0, length: 0)
    var failure: BSONError?
    bytes.withUnsafeBytes { raw in
      do throws(BSONError) {
        var walk = try BSONView(raw).elements()
        while let element = try walk.next() {
          if element.key.equals("ts"), let time = element.timestamp {
            entry.position = OplogPosition(seconds: time.seconds, increment: time.increment)
          } else if element.key.equals("t") {
            entry.term = element.integer ?? -1
          } else if element.key.equals("wall") {
            entry.wallTime = element.date ?? 0
          } else if element.key.equals("prevOpTime"), let link = element.document,
            let time = try link.first("ts")?.timestamp
          {
            entry.previous = OplogPosition(seconds: time.seconds, increment: time.increment)
          }
        }
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return entry
  }

  // MARK: Parts

  /// Who takes writes.
  func writable(_ member: Int?) -> Int? {
    guard let member = member ?? primary else { return nil }
    return members[member].isUp && members[member].isPrimary ? member : nil
  }

  func position(_ number: Int) -> OplogPosition { entries[number].position }
}
