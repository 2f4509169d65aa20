internal import Oplog

/// Where a snapshot stands: which collection, after which document, and how it can still be read.
/// A pure value; it outlives connections.
struct SnapshotCourse {
  /// Where the oplog is to be read from afterwards, and the time that is read at while it lasts.
  let position: ResumePoint
  /// To be read, by UUID; the first is being read.
  private(set) var collections: ArraySlice<SnapshotCollection>
  /// `position` is within the history that the server keeps.
  private(set) var isExact: Bool
  /// … and so it is for the collection being read.
  private(set) var collectionIsExact: Bool
  private(set) var lastID: [UInt8]?
  /// What is left of the collection being read.
  private(set) var stretch = Stretch.range
  /// The collection has no index to go by, which some very old ones lack.
  private(set) var lacksIndex: Bool
  private(set) var documents: UInt64
  private(set) var bytes: UInt64
  /// Documents to ask for.
  private(set) var limit: Int
  private let limits: ClosedRange<Int>
  private let usesIndexes: Bool

  enum Stretch {
    /// By the index, which ends before the greatest of all keys …
    case range
    /// … so a document that has that as its `_id` is asked for by itself.
    case greatest
  }

  /// What a reply is meant to hold, as far as one can tell beforehand.
  private static let bytesPerPage = 1 << 20
  static let greatestID = [UInt8(0x7F)]

  init(
    _ options: MongoSourceOptions, position: ResumePoint, isExact: Bool,
    collections: [SnapshotCollection]
  ) {
    limits = options.snapshotPage
    usesIndexes = options.snapshotUsesIndex
    limit = min(max(200, limits.lowerBound), limits.upperBound)
    lacksIndex = !usesIndexes
    self.position = position
    self.collections = Self.sorted(collections)
    self.isExact = isExact
    collectionIsExact = isExact
    documents = 0
    bytes = 0
    beginCollection()
  }

  /// Goes on after `marker`.
  /// - Parameter collections: as they are now.
  init(
    _ options: MongoSourceOptions, after marker: SnapshotMarker, isExact: Bool,
    collections: [SnapshotCollection]
  ) {
    self.init(
      options, position: marker.position, isExact: marker.isExact && isExact,
      collections: collections)
    let uuid = marker.collectionUUID
    self.collections = self.collections.drop { collection in
      collection.uuid == uuid
        ? marker.lastID == nil : collection.uuid.lexicographicallyPrecedes(uuid)
    }
    if self.collections.first?.uuid == uuid { lastID = marker.lastID }
    beginCollection()
    documents = marker.documents
    bytes = marker.bytes
  }

  private static func sorted(_ collections: [SnapshotCollection]) -> ArraySlice<SnapshotCollection>
  {
    collections.sorted { $0.uuid.lexicographicallyPrecedes($1.uuid) }[...]
  }

  var current: SnapshotCollection? { collections.first }

  /// Takes note of a page of the current collection.
  /// - Parameters:
  ///   - last: the `_id` of its last document; nil if there was none.
  ///   - isEnd: the server had no more.
  /// - Returns: whether the collection is done.
  mutating func advance(documents: Int, bytes: Int, last: [UInt8]?, isEnd: Bool) -> Bool {
    let continued = lastID != nil
    self.documents &+= UInt64(documents)
    self.bytes &+= UInt64(bytes)
    if let last { lastID = last }
    if documents > 0 {
      let fitting = Self.bytesPerPage / max(bytes / documents, 1)
      limit = min(max(fitting, limits.lowerBound), limits.upperBound)
    }
    guard isEnd else { return false }
    // A page from the beginning had no bounds at all.
    if stretch == .range, continued, !lacksIndex, lastID != Self.greatestID {
      stretch = .greatest
      return false
    }
    return true
  }

  /// The current collection is done, or gone.
  mutating func nextCollection() {
    collections = collections.dropFirst()
    lastID = nil
    stretch = .range
    lacksIndex = !usesIndexes
    beginCollection()
  }

  private mutating func beginCollection() {
    // A name that it has got since says nothing of it at that time.
    collectionIsExact = isExact && current.map { $0.name == $0.listedName } ?? true
  }

  /// The time at `position` can't be read any more: of the current collection, or of all.
  mutating func loseHistory(everywhere: Bool) {
    collectionIsExact = false
    if everywhere { isExact = false }
  }

  /// The current collection goes by another name now, which has no history under it.
  mutating func rename(to name: [UInt8]) {
    guard let index = collections.indices.first else { return }
    collections[index].name = name
    collectionIsExact = false
    stretch = .range
  }

  mutating func goWithoutIndex() { lacksIndex = true }

  func marker(isDone: Bool) -> SnapshotMarker? {
    guard let current else { return nil }
    return SnapshotMarker(
      position: position, isExact: isExact, collectionUUID: current.uuid,
      namespace: current.namespace, lastID: isDone ? nil : lastID, documents: documents,
      bytes: bytes)
  }
}
