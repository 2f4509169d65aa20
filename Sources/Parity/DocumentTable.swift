import JSON
public import Oplog

/// The documents that result from a sequence of messages, for one part of all keys.
///
/// Memory is bounded: if the documents exceed `mostBytes`, the part is halved; `left` has the parts to
/// fold separately.
public struct DocumentTable: Sendable {
  /// A document known from messages.
  public struct Document: Sendable {
    /// The possible documents as JSON, most likely first; several if a path is ambiguous. Empty if only
    /// changes of it are known, not the whole document.
    public fileprivate(set) var texts: [[UInt8]] = []
    public fileprivate(set) var rule: String
    public fileprivate(set) var position: EventPosition
    public fileprivate(set) var sequence: UInt64
    /// The position of the last message with the whole document.
    public fileprivate(set) var shownAt: EventPosition?
    /// Whether that was a snapshot's message.
    fileprivate var isShownBySnapshot = false
    /// The position of the first message of this document's life: since then it has existed, under any name.
    fileprivate var since: EventPosition
    /// Whether that message is its insert; otherwise it existed before.
    fileprivate var isBegunByInsert = false
    /// The last snapshot that shows it.
    fileprivate var snapshotAt: OplogPosition?
    /// The last rename of its collection.
    fileprivate var movedAt: EventPosition?
    /// The messages may belong to several documents with colliding keys.
    public fileprivate(set) var isDoubtful = false
    /// A snapshot that was read late shows documents before their inserts, which follow. So the two messages
    /// are of one document, or of two with colliding keys.
    public fileprivate(set) var mayBeTwo = false
    /// Updates can't be applied to the published form: shortened arrays or hashes.
    public fileprivate(set) var isUndecided = false
    /// An update has changed a redacted value without its new value.
    public fileprivate(set) var isMasked = false
    /// There are more possible documents than are kept.
    public fileprivate(set) var hasMoreReadings = false
    /// A field was set that is shown under a name which two fields may have: it may be either of them.
    fileprivate var mayHoldTwo = false
    /// … and one of that name is gone since: which one, and what the other holds, messages don't say.
    public fileprivate(set) var hasLostOneOfTwo = false
    /// It has, or had, field names with dots.
    public fileprivate(set) var hasDottedNames = false
    /// It was returned by `claim`.
    fileprivate var isClaimed = false

    fileprivate init(_ rule: String, _ position: EventPosition, _ sequence: UInt64) {
      self.rule = rule
      self.position = position
      self.sequence = sequence
      since = position
    }

    /// Its approximate size in memory.
    fileprivate func bytes(_ key: DocumentKey) -> Int {
      256 + key.byteCount + texts.reduce(0) { $0 + 32 + $1.count }
    }
  }

  private struct Collection {
    var documents: [DocumentKey: Document] = [:]
    /// From this position on, the messages cover the whole collection.
    var emptiedAt: EventPosition?
    /// Since this position, it may have documents that no message covers.
    var blurredAt: EventPosition?
  }

  /// Whether a snapshot must have a message of a document that exists.
  public enum Demand: Sendable {
    /// It has one, or the document is younger.
    case none
    case missing
    /// Its collection had another name then.
    case open
  }

  /// What is known about a document of a collection.
  public enum Claim: Sendable {
    case document(Document)
    /// No message covers it.
    case absent
    /// A document with a colliding key was claimed before.
    case claimed
  }

  /// The part that is folded; at most the requested one.
  public private(set) var part: DocumentPart
  /// The rest of the requested part.
  public private(set) var left: [DocumentPart] = []
  /// The number of document messages, including those of other parts.
  public private(set) var messages: UInt64 = 0
  /// The position of the first one.
  public private(set) var first: EventPosition?

  private var collections: [[UInt8]: Collection] = [:]
  private var bytes = 0
  /// Snapshot messages by id.
  private var snapshotIDs: [MessageDigest: (key: DocumentKey, sequence: UInt64)] = [:]
  private let mostBytes: Int
  private let isThorough: Bool
  /// Names that rules give to fields which are called otherwise.
  private let givenNames: Set<String>

  /// The maximum number of possible documents kept.
  private static let mostTexts = 4
  private static let mostTextsThorough = 256

  /// - Parameters:
  ///   - isThorough: try unlikely readings of paths too.
  ///   - givenNames: those that rules give to fields which are called otherwise.
  public init(
    _ part: DocumentPart, mostBytes: Int, isThorough: Bool = false, givenNames: Set<String> = []
  ) {
    self.givenNames = givenNames
    self.part = part
    self.mostBytes = mostBytes
    self.isThorough = isThorough
  }

  /// - Parameter id: the id of a snapshot's message.
  /// - Returns: the sequence of an earlier message with that id, if any; then this one is ignored.
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

  /// The document after the event; nil if it is deleted.
  private func fold(
    _ event: JSONValue, _ operation: FoldStep.Operation, into known: Document?,
    _ present: Document, _ key: DocumentKey, _ shape: FoldStep.Shape
  ) -> Document? {
    var document = present
    document.isDoubtful = known?.isDoubtful ?? false
    document.mayBeTwo = known?.mayBeTwo ?? false
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
      // A second insert, or a second one in the same snapshot, means that two documents' keys collide.
      if key.mayCoincide, let known, !known.texts.isEmpty {
        if operation == .insert {
          document.mayBeTwo = document.mayBeTwo || known.isShownBySnapshot
          document.isDoubtful = document.isDoubtful || !known.isShownBySnapshot
        } else if known.isShownBySnapshot, known.shownAt?.entry == present.position.entry {
          document.isDoubtful = true
        }
      }
      document.show(event["fullDocument"])
      document.isShownBySnapshot = operation == .snapshot
    case .replace:
      document.show(event["fullDocument"])
    case .delete:
      // If keys collide, it is unknown which document was deleted.
      guard let known, known.isDoubtful || known.mayBeTwo else { return nil }
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
    if DocumentFold.goesByIndex(update, shape) { document.isUndecided = true }
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

  /// Whether the messages cover every document of the collection.
  ///
  /// - Parameter snapshot: the position of a snapshot of it, if any.
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

  /// What the messages say about a document that exists in the collection. Documents never claimed
  /// (`unclaimed`) don't exist in any collection.
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
  /// Takes the whole document from a message.
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
