import JSON
public import Oplog

/// The documents that a sequence of messages makes, as far as they are in one part of all keys.
///
/// Memory is bounded: where they take more than `mostBytes`, the part is halved; `left` names what has
/// to be folded separately.
public struct DocumentTable: Sendable {
  /// A document that messages tell of.
  public struct Document: Sendable {
    /// As JSON, the most likely first: there are several where a path can be read in several ways. None:
    /// only changes of it are known, of which no document can be made.
    public fileprivate(set) var texts: [[UInt8]] = []
    public fileprivate(set) var rule: String
    public fileprivate(set) var position: EventPosition
    public fileprivate(set) var sequence: UInt64
    /// Of the last message that showed all of it.
    public fileprivate(set) var shownAt: EventPosition?
    /// … which was a snapshot's.
    fileprivate var isShownBySnapshot = false
    /// The first message of this document's life: since then it has been there, whatever its name.
    fileprivate var since: EventPosition
    /// … which tells that it was made then; otherwise it was there before.
    fileprivate var isBegunByInsert = false
    /// The last snapshot that shows it.
    fileprivate var snapshotAt: OplogPosition?
    /// When its collection was renamed last.
    fileprivate var movedAt: EventPosition?
    /// Messages may be of several documents with keys that look the same.
    public fileprivate(set) var isDoubtful = false
    /// Updates can't be applied to what is shown: of arrays some elements, of values hashes.
    public fileprivate(set) var isUndecided = false
    /// An update tells of a redacted value no more than that something in it, or by that path, has changed.
    public fileprivate(set) var isMasked = false
    /// There are more readings than are kept.
    public fileprivate(set) var hasMoreReadings = false
    /// A field was set that is shown under a name which two fields may have: it may be either of them.
    fileprivate var mayHoldTwo = false
    /// … and one of that name is gone since: which one, and what the other holds, messages don't say.
    public fileprivate(set) var hasLostOneOfTwo = false
    /// Names in it hold, or held, dots.
    public fileprivate(set) var hasDottedNames = false
    /// It was asked for.
    fileprivate var isClaimed = false

    fileprivate init(_ rule: String, _ position: EventPosition, _ sequence: UInt64) {
      self.rule = rule
      self.position = position
      self.sequence = sequence
      since = position
    }

    /// Memory it takes, about.
    fileprivate func bytes(_ key: DocumentKey) -> Int {
      256 + key.byteCount + texts.reduce(0) { $0 + 32 + $1.count }
    }
  }

  private struct Collection {
    var documents: [DocumentKey: Document] = [:]
    /// Messages tell of everything that was in it from there on.
    var emptiedAt: EventPosition?
    /// There are documents in it since then that nothing tells of.
    var blurredAt: EventPosition?
  }

  /// Whether a snapshot must have a message of a document that is there.
  public enum Demand: Sendable {
    /// It has one, or the document is younger.
    case none
    case missing
    /// Its collection had another name then.
    case open
  }

  /// What is known of one document of a collection.
  public enum Claim: Sendable {
    case document(Document)
    /// No message tells of it.
    case absent
    /// Another document with a key that looks the same was asked for before.
    case claimed
  }

  /// What is folded: no more than was asked for.
  public private(set) var part: DocumentPart
  /// … and the rest of it.
  public private(set) var left: [DocumentPart] = []
  /// Of documents, those of other parts included.
  public private(set) var messages: UInt64 = 0
  /// The first that was told.
  public private(set) var first: EventPosition?

  private var collections: [[UInt8]: Collection] = [:]
  private var bytes = 0
  /// Messages of snapshots, by their ids.
  private var snapshotIDs: [MessageDigest: (key: DocumentKey, sequence: UInt64)] = [:]
  private let mostBytes: Int
  private let isThorough: Bool
  /// Names that rules give to fields which are called otherwise.
  private let givenNames: Set<String>

  /// Readings of one document that are kept.
  private static let mostTexts = 4
  private static let mostTextsThorough = 256

  /// - Parameters:
  ///   - isThorough: unlikely readings of paths are tried too.
  ///   - givenNames: those that rules give to fields which are called otherwise.
  public init(
    _ part: DocumentPart, mostBytes: Int, isThorough: Bool = false, givenNames: Set<String> = []
  ) {
    self.givenNames = givenNames
    self.part = part
    self.mostBytes = mostBytes
    self.isThorough = isThorough
  }

  /// - Parameter id: the message's, of a snapshot's message.
  /// - Returns: where a message of that id stands already; then nothing was done.
  @discardableResult
  public mutating func apply(
    _ step: FoldStep, rule: String, position: EventPosition, sequence: UInt64,
    id: MessageDigest? = nil
  ) -> UInt64? {
    switch step {
    case .document(let key, let operation, let event, let shape):
      messages &+= 1
      first = min(first ?? position, position)
      let name = Array(key.namespaceBytes)
      guard part.contains(key) else { return nil }
      if let id, operation == .snapshot {
        if let before = snapshotIDs[id] { return before.sequence }
        snapshotIDs[id] = (key, sequence)
        bytes += Self.bytes(ofID: key)
      }
      let known = collections[name]?.documents[key]
      bytes -= known?.bytes(key) ?? 0
      let present = Document(rule, position, sequence)
      let changed = fold(event, operation, into: known, present, key, shape)
      collections[name, default: Collection()].documents[key] = changed
      bytes += changed?.bytes(key) ?? 0
      bound()
    case .emptied(let namespace):
      empty(Array(namespace.utf8), at: position)
      count()
    case .databaseDropped(let database):
      let prefix = Array("\(database).".utf8)
      for name in collections.keys where name.starts(with: prefix) { empty(name, at: position) }
      count()
    case .renamed(let from, let to):
      rename(from.map { Array($0.utf8) }, Array(to.utf8), at: position)
      count()
    }
    return nil
  }

  private static func bytes(ofID key: DocumentKey) -> Int { 128 + key.byteCount }

  private mutating func empty(_ name: [UInt8], at position: EventPosition) {
    collections[name] = Collection(emptiedAt: position)
  }

  private mutating func rename(_ from: [UInt8]?, _ to: [UInt8], at position: EventPosition) {
    guard let from, from != to else {
      if from == nil { collections[to] = Collection(blurredAt: position) }
      return
    }
    let old = collections.removeValue(forKey: from) ?? Collection()
    var new = old
    new.documents = [:]
    for (key, document) in old.documents {
      var moved = document
      moved.movedAt = position
      new.documents[key.moved(to: to)] = moved
    }
    collections[to] = new
    collections[from] = Collection(emptiedAt: position)
  }

  private mutating func count() {
    bytes = collections.values.reduce(0) { sum, collection in
      sum + collection.documents.reduce(0) { $0 + $1.value.bytes($1.key) }
    }
    bytes += snapshotIDs.values.reduce(0) { $0 + Self.bytes(ofID: $1.key) }
  }

  private mutating func bound() {
    while bytes > mostBytes, part.bits < 48,
      collections.values.reduce(0, { $0 + $1.documents.count }) > 1
    {
      left.append(part.halve())
      for name in collections.keys {
        let documents = collections[name]?.documents ?? [:]
        collections[name]?.documents = documents.filter { part.contains($0.key) }
      }
      snapshotIDs = snapshotIDs.filter { part.contains($0.value.key) }
      count()
    }
  }

  // MARK: One document

  /// The document as the event leaves it; nil: it is gone.
  private func fold(
    _ event: JSONValue, _ operation: FoldStep.Operation, into known: Document?,
    _ present: Document, _ key: DocumentKey, _ shape: FoldStep.Shape
  ) -> Document? {
    var document = present
    document.isDoubtful = known?.isDoubtful ?? false
    if operation == .insert {
      document.isBegunByInsert = true
    } else if let known {
      (document.since, document.isBegunByInsert) = (known.since, known.isBegunByInsert)
      (document.snapshotAt, document.movedAt) = (known.snapshotAt, known.movedAt)
    }
    if operation == .snapshot { document.snapshotAt = present.position.entry }
    document.hasDottedNames = known?.hasDottedNames ?? false
    switch operation {
    case .insert, .snapshot:
      // Nothing is inserted twice, nor twice in one snapshot, unless two documents look the same here.
      let isAgain =
        operation == .insert
        || (known?.isShownBySnapshot ?? false && known?.shownAt?.entry == present.position.entry)
      if key.mayCoincide, let known, !known.texts.isEmpty, isAgain { document.isDoubtful = true }
      document.show(event["fullDocument"])
      document.isShownBySnapshot = operation == .snapshot
    case .replace:
      document.show(event["fullDocument"])
    case .delete:
      // Which of several is gone can't be told.
      guard let known, known.isDoubtful else { return nil }
      document.texts = []
    case .update:
      document.texts = known?.texts ?? []
      document.isUndecided = known?.isUndecided ?? false
      document.isMasked = known?.isMasked ?? false
      document.hasMoreReadings = known?.hasMoreReadings ?? false
      document.mayHoldTwo = known?.mayHoldTwo ?? false
      document.hasLostOneOfTwo = known?.hasLostOneOfTwo ?? false
      document.shownAt = known?.shownAt
      document.isShownBySnapshot = known?.isShownBySnapshot ?? false
      if let update = event["updateDescription"] {
        change(&document, by: update, shape)
      }
    }
    return document
  }

  private func change(
    _ document: inout Document, by update: JSONValue, _ shape: FoldStep.Shape
  ) {
    for member in update["updatedFields"]?.objectValue ?? []
    where !document.hasDottedNames && member.value.hasDottedNames {
      document.hasDottedNames = true
    }
    if shape.contains(.redacts), DocumentFold.masks(update) { document.isMasked = true }
    if !givenNames.isEmpty { noteGivenNames(&document, update) }
    if shape.contains(.shortensArrays), DocumentFold.goesByIndex(update) {
      document.isUndecided = true
    }
    let limit = isThorough ? Self.mostTextsThorough : Self.mostTexts
    var texts: [[UInt8]] = []
    for text in document.texts {
      guard let value = try? JSONValue(parsing: text, maximumDepth: DocumentFold.maximumDepth)
      else { continue }
      if shape.contains(.hashes),
        DocumentFold.entersValues(update, of: value) || DocumentFold.masksHashes(update, of: value)
      {
        document.isUndecided = true
      }
      let outcomes = DocumentFold.outcomes(
        of: update, on: value, isThorough: isThorough,
        hidesFields: shape.contains(.shortensArrays), atMost: limit + 1)
      for outcome in outcomes {
        let changed = outcome.utf8
        if texts.isEmpty || !texts.contains(changed) { texts.append(changed) }
        if texts.count > limit { break }
      }
    }
    if texts.count > limit {
      texts.removeLast(texts.count - limit)
      document.hasMoreReadings = true
    }
    document.texts = texts
  }

  private func noteGivenNames(_ document: inout Document, _ update: JSONValue) {
    func isGiven(_ path: String) -> Bool { path.dotSeparated.contains { givenNames.contains($0) } }
    if document.mayHoldTwo,
      (update["removedFields"]?.arrayValue ?? []).contains(where: {
        $0.stringValue.map(isGiven) ?? false
      })
    {
      document.hasLostOneOfTwo = true
    }
    guard !document.mayHoldTwo,
      (update["updatedFields"]?.objectValue ?? []).contains(where: { isGiven($0.key) })
    else { return }
    document.mayHoldTwo = document.texts.contains { text in
      givenNames.contains { name in
        String(decoding: text, as: UTF8.self).contains("\(JSONValue.string(name)):")
      }
    }
  }

  // MARK: Asking

  /// Whether messages tell of every document of the collection.
  ///
  /// - Parameter snapshot: where a snapshot of it stands, if there is one.
  public func isComplete(_ namespace: String, snapshot: OplogPosition?) -> Bool {
    let collection = collections[Array(namespace.utf8)]
    guard let blurred = collection?.blurredAt else {
      return snapshot != nil || collection?.emptiedAt != nil
    }
    if let emptied = collection?.emptiedAt, emptied > blurred { return true }
    return snapshot.map { $0 >= blurred.entry } ?? false
  }

  /// Whether the document, which the collection holds, lacks its message of a snapshot of the collection.
  ///
  /// - Parameter snapshot: the entry at which it shows all documents.
  public func demand(
    _ document: Document, _ namespace: String, snapshot: OplogPosition
  ) -> Demand {
    if let shown = document.snapshotAt, shown >= snapshot { return .none }
    let collection = collections[Array(namespace.utf8)]
    // Of what came in since, nothing says when it was made.
    for change in [collection?.blurredAt, collection?.emptiedAt] {
      if let change, change.entry >= snapshot { return .none }
    }
    if document.isBegunByInsert, document.since.entry >= snapshot { return .none }
    if let moved = document.movedAt, moved.entry >= snapshot { return .open }
    return .missing
  }

  /// What the messages tell of a document that the collection holds. What was not asked for in the
  /// end is what no collection has.
  public mutating func claim(_ key: DocumentKey) -> Claim {
    let name = Array(key.namespaceBytes)
    guard let document = collections[name]?.documents[key] else { return .absent }
    if document.isClaimed { return .claimed }
    collections[name]?.documents[key]?.isClaimed = true
    collections[name]?.documents[key]?.texts = []
    return .document(document)
  }

  public var unclaimed: [(DocumentKey, Document)] {
    collections.values.flatMap { collection in
      collection.documents.filter { !$0.value.isClaimed }.map { ($0.key, $0.value) }
    }
  }
}

extension DocumentTable.Document {
  /// A message shows all of it.
  fileprivate mutating func show(_ document: JSONValue?) {
    texts = document.map { [$0.utf8] } ?? []
    isUndecided = false
    isMasked = false
    hasMoreReadings = false
    mayHoldTwo = false
    hasLostOneOfTwo = false
    shownAt = position
    if let document, !hasDottedNames { hasDottedNames = document.hasDottedNames }
  }
}
