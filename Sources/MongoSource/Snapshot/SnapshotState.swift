internal import Oplog

/// The progress of a snapshot: which collection, after which document, and how it can be read.
/// A pure value that outlives connections.
struct SnapshotState {
  /// Where to tail from afterwards, and the cluster time to read at while the server keeps it.
  let position: ResumePoint
  /// Remaining collections in the order of their UUIDs; the first is being read.
  private(set) var collections: ArraySlice<SnapshotCollection>
  /// The server can read at `position`.
  private(set) var isExact: Bool
  /// The server can read the current collection at `position`.
  private(set) var collectionIsExact: Bool
  private(set) var lastID: [UInt8]?
  /// The rest of the current collection.
  private(set) var segment = Segment.range
  /// The current collection has no index on `_id`; some very old ones lack it.
  private(set) var lacksIndex: Bool
  private(set) var documents: UInt64
  private(set) var bytes: UInt64
  /// Documents per page.
  private(set) var limit: Int
  private let limits: ClosedRange<Int>
  private let usesIndexes: Bool

  enum Segment {
    /// By the index, whose range ends before MaxKey …
    case range
    /// … so a document with that `_id` is queried separately.
    case greatest
  }

  /// Target size of a reply.
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

  /// Continues after `marker`.
  /// - Parameter collections: the current ones.
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

  /// Accounts for a page of the current collection.
  /// - Parameters:
  ///   - last: the `_id` of its last document, if any.
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
    // The first page of a collection has no bounds, so it includes MaxKey.
    if segment == .range, continued, !lacksIndex, lastID != Self.greatestID {
      segment = .greatest
      return false
    }
    return true
  }

  /// The current collection is done, or no longer exists.
  mutating func nextCollection() {
    collections = collections.dropFirst()
    lastID = nil
    segment = .range
    lacksIndex = !usesIndexes
    beginCollection()
  }

  private mutating func beginCollection() {
    // A read at the position finds the collection only under its name at that time.
    collectionIsExact = isExact && current.map { $0.name == $0.reportedName } ?? true
  }

  /// `position` can't be read any more: for the current collection, or for all.
  mutating func loseHistory(everywhere: Bool) {
    collectionIsExact = false
    if everywhere { isExact = false }
  }

  /// The current collection was renamed, and has no history under its new name.
  mutating func rename(to name: [UInt8]) {
    guard let index = collections.indices.first else { return }
    collections[index].name = name
    collectionIsExact = false
    segment = .range
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
