/// The progress and estimated duration of a snapshot. A pure value.
public struct SnapshotProgress: Sendable {
  public var collectionsDone = 0
  public var collections = 0
  /// Documents and bytes read, including earlier runs.
  public private(set) var documents: UInt64 = 0
  public private(set) var bytes: UInt64 = 0
  /// Estimated totals, from the server's counts at the start; 0 while unknown.
  public private(set) var estimatedDocuments: UInt64 = 0
  public private(set) var estimatedBytes: UInt64 = 0
  /// The collection being read, `db.collection`.
  public var namespace: String?

  /// Samples of the last seconds, for the rate.
  private var marks: [Mark] = []

  private struct Mark {
    var at: ContinuousClock.Instant
    var documents: UInt64
    var bytes: UInt64
  }

  private static let marksKept = 20
  private static let markInterval = Duration.seconds(1)

  public init() {}

  /// - Parameter documents, bytes: read by earlier runs.
  package mutating func begin(
    documents: UInt64, bytes: UInt64, at now: ContinuousClock.Instant
  ) {
    self.documents = documents
    self.bytes = bytes
    marks = [Mark(at: now, documents: documents, bytes: bytes)]
  }

  /// Adds the estimate of what remains.
  package mutating func expect(documents: UInt64, bytes: UInt64) {
    estimatedDocuments = self.documents &+ documents
    estimatedBytes = self.bytes &+ bytes
  }

  package mutating func add(documents: Int, bytes: Int, at now: ContinuousClock.Instant) {
    self.documents &+= UInt64(documents)
    self.bytes &+= UInt64(bytes)
    guard let last = marks.last else {
      marks = [Mark(at: now, documents: self.documents, bytes: self.bytes)]
      return
    }
    guard now - last.at >= Self.markInterval else { return }
    marks.append(Mark(at: now, documents: self.documents, bytes: self.bytes))
    if marks.count > Self.marksKept { marks.removeFirst() }
  }

  /// Documents and bytes per second over the last seconds; nil while unknown.
  public func rate(at now: ContinuousClock.Instant) -> (documents: Double, bytes: Double)? {
    guard let first = marks.first else { return nil }
    let seconds = (now - first.at) / .seconds(1)
    guard seconds > 0.1, documents > first.documents else { return nil }
    return (
      Double(documents - first.documents) / seconds, Double(bytes - first.bytes) / seconds
    )
  }

  /// The estimated remaining time; nil while unknown.
  public func remaining(at now: ContinuousClock.Instant) -> Duration? {
    guard let rate = rate(at: now), rate.bytes > 0, estimatedBytes > 0 else { return nil }
    let rest = estimatedBytes > bytes ? estimatedBytes - bytes : 0
    return .seconds(Double(rest) / rate.bytes)
  }

  /// From 0 to 1, by bytes; nil while the total is unknown.
  public var fraction: Double? {
    estimatedBytes > 0 ? min(Double(bytes) / Double(estimatedBytes), 1) : nil
  }
}
