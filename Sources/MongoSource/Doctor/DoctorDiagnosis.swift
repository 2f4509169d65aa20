public import Oplog

/// The result of one check.
public struct Diagnosis: Sendable, Equatable, CustomStringConvertible {
  public enum Verdict: String, Sendable, CaseIterable {
    case ok
    /// Works now; may fail later, or can't be checked with these privileges.
    case warn
    /// Doesn't work, or will stop working soon.
    case fail
  }

  /// Stable, e.g. `mongodb.oplog_window`.
  public var id: String
  public var verdict: Verdict
  /// What was found, with figures. Never contains secrets.
  public var evidence: String
  /// What to do: mongosh commands are ready to paste, with explanations as comments. Nil if there is
  /// nothing to do.
  public var remedy: String?

  public init(_ id: String, _ verdict: Verdict, _ evidence: String, remedy: String? = nil) {
    self.id = id
    self.verdict = verdict
    self.evidence = evidence
    self.remedy = remedy
  }

  public var description: String {
    "\(verdict.rawValue) \(id): \(evidence)" + (remedy.map { "\n\($0)" } ?? "")
  }
}

/// What this bridge's configuration requires of the deployment.
public struct MongoDemands: Sendable {
  /// The resume position.
  public var checkpoint: ResumePoint?
  /// The start position, if there is no resume position.
  public var start: OplogPosition?
  /// False: the bridge reads change streams, which check their history themselves.
  public var readsOplog = true
  /// The bridge begins with a snapshot, which reads the oplog whatever the reader.
  public var startsWithSnapshot = false
  /// If the resume position is lost, the bridge takes a snapshot.
  public var snapshotsOnLoss = false
  /// The databases that rules match. Empty: all.
  public var databases: [String] = []
  /// Collections (`db.collection`) for which rules use pre-images.
  public var preImages: [String] = []
  /// Those of `preImages` for which a rule requires them.
  public var requiredPreImages: Set<String> = []
  /// Rules that use pre-images.
  public var preImageRules: [String] = []
  /// One per rule.
  public var rules: [RuleDemand] = []
  /// The largest message that the NATS servers accept (`max_payload`).
  public var maxPayload: Int?
  /// How far back the oplog should reach: the longest outage to survive.
  public var minimumWindow = Duration.seconds(24 * 3600)
  /// No new command is sent after this; a running one ends within seconds.
  public var timeLimit = Duration.seconds(20)

  public init() {}

  var takesSnapshots: Bool { startsWithSnapshot || snapshotsOnLoss }
}

/// What one rule requires of the database.
public struct RuleDemand: Sendable {
  public var rule: String
  /// A glob over `database.collection`, as written in the configuration.
  public var namespace: String
  /// Set if the glob has no wildcard there.
  public var database: String?
  public var collection: String?
  public var matches: @Sendable (String) -> Bool
  /// Why documents are read besides the oplog; nil: they aren't.
  public var reads: String?
  /// The bridge does not work without these reads.
  public var needsReads: Bool

  public init(
    rule: String, namespace: String, database: String?, collection: String?, reads: String? = nil,
    needsReads: Bool = false, matches: @escaping @Sendable (String) -> Bool
  ) {
    self.rule = rule
    self.namespace = namespace
    self.database = database
    self.collection = collection
    self.matches = matches
    self.reads = reads
    self.needsReads = needsReads
  }
}
