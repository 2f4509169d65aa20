internal import BSON
internal import Oplog

/// The progress of one request. It outlives a failed connection, so that no successful read is
/// repeated.
///
/// `images` points only into `replies[..<settledReplies]`: `rollBack` removes the others.
struct ImageWork {
  let catalog: ImageCatalog
  /// Only images with smaller numbers are read and answered.
  let limit: Int
  /// Remaining reads at a cluster time, the next one last.
  private(set) var reads: [ImagePlan.Read]
  /// Changes whose document is read in its current state, by collection.
  private(set) var lookups: [Int: [Int]] = [:]
  private(set) var preImages: ArraySlice<ImageCatalog.PreImage>
  private(set) var images: [Image]
  private(set) var replies: [MongoReply] = []
  private(set) var byteCount = 0
  /// Replies of finished reads.
  private var settledReplies = 0

  /// The server no longer keeps the history for the remaining reads.
  private var isTooOld = false
  /// Collections that can't be read at the remaining times.
  private var unreadable: Set<Int> = []
  /// Collections that were read at a cluster time by name only, with the changes that were found.
  private(set) var unverified: [Int: [Int]] = [:]

  init(_ request: ImageRequest, limit: Int) {
    let bound = min(limit, request.count)
    self.limit = bound
    catalog = ImageCatalog(request, limit: bound)
    let plan = ImagePlan(catalog.changes, collectionOf: catalog.ids.map(\.collection))
    reads = plan.reads.reversed()
    preImages =
      catalog.preImages.sorted { a, b in
        if a.uuid != b.uuid { return a.uuid.lexicographicallyPrecedes(b.uuid) }
        return (a.entry, a.operation) < (b.entry, b.operation)
      }[...]
    images = [Image](repeating: Image(kind: .none), count: bound)
  }

  // MARK: Reads at a cluster time

  /// The next possible read; impossible ones become lookups.
  mutating func nextRead(_ capabilities: ServerCapabilities) -> ImagePlan.Read? {
    while let read = reads.last {
      if capabilities.readsAtClusterTime, !isTooOld, !unreadable.contains(read.collection) {
        return read
      }
      reads.removeLast()
      look(up: read)
    }
    return nil
  }

  /// The documents to read.
  func documents(of read: ImagePlan.Read) -> [Int] { distinct(read.images.map(\.change)) }

  /// Takes the result of the next read.
  mutating func finish(
    _ read: ImagePlan.Read, _ found: [Int: BSONView], isVerified: Bool
  ) {
    reads.removeLast()
    settledReplies = replies.count
    for image in read.images {
      if let document = found[self.document(of: image.change)] {
        set(image.change, Image(kind: image.isExact ? .post : .lookup, document: document))
        if !isVerified { unverified[read.collection, default: []].append(image.change) }
      } else if image.isExact {
        // The oplog says that it existed: since then its collection was renamed, or the document was
        // moved to another shard, which isn't an event.
        lookups[read.collection, default: []].append(image.change)
      }
    }
  }

  /// The server refused the next read, and will refuse all earlier ones: of the collection, or all.
  mutating func refuse(_ read: ImagePlan.Read, everywhere: Bool) {
    if everywhere { isTooOld = true } else { unreadable.insert(read.collection) }
  }

  private mutating func look(up read: ImagePlan.Read) {
    lookups[read.collection, default: []] += read.images.map(\.change)
  }

  /// Discards what was read by name only if the name belongs to another collection.
  mutating func verify(_ collection: Int, isTheSame: Bool) {
    guard let changes = unverified.removeValue(forKey: collection), !isTheSame else { return }
    for change in changes { set(change, Image(kind: .none)) }
    lookups[collection, default: []] += changes
  }

  // MARK: Lookups

  /// The documents to look up in a collection, and the earliest permitted time.
  func documents(toLookUpIn collection: Int) -> (documents: [Int], notBefore: OplogPosition) {
    let changes = lookups[collection] ?? []
    let latest = changes.map { catalog.changes[$0].time }.max()
    return (distinct(changes), latest ?? OplogPosition(seconds: 0, increment: 0))
  }

  mutating func finishLookups(in collection: Int, _ found: [Int: BSONView]) {
    settledReplies = replies.count
    for change in lookups.removeValue(forKey: collection) ?? [] {
      guard let document = found[self.document(of: change)] else { continue }
      set(change, Image(kind: .lookup, document: document))
    }
  }

  // MARK: Pre-images

  /// Some pre-images of one collection, in the order of their keys.
  func nextPreImages(atMost count: Int) -> ArraySlice<ImageCatalog.PreImage>? {
    guard let first = preImages.first else { return nil }
    return preImages.prefix(count).prefix { $0.uuid == first.uuid }
  }

  /// - Parameter found: documents by the number of their image.
  mutating func finish(
    preImages done: ArraySlice<ImageCatalog.PreImage>, _ found: [Int: BSONView]
  ) {
    settledReplies = replies.count
    for (number, document) in found { images[number] = Image(kind: .pre, document: document) }
    preImages = preImages.dropFirst(done.count)
  }

  // MARK: Replies

  /// Discards the replies of a failed read, which will be repeated.
  mutating func rollBack() {
    for reply in replies[settledReplies...] { byteCount -= reply.bytes.count }
    replies.removeLast(replies.count - settledReplies)
  }

  mutating func keep(_ reply: MongoReply) {
    replies.append(reply)
    byteCount += reply.bytes.count
  }

  private mutating func set(_ change: Int, _ image: Image) {
    guard let number = catalog.imageOf[change] else { return }
    images[number] = image
  }

  private func document(of change: Int) -> Int { catalog.documentOf[change] ?? -1 }

  private func distinct(_ changes: [Int]) -> [Int] {
    var seen: Set<Int> = []
    return changes.map(document(of:)).filter { seen.insert($0).inserted }
  }
}
