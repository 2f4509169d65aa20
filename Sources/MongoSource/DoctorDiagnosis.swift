public import Oplog

/// What one check found.
public struct Diagnosis: Sendable, Equatable, CustomStringConvertible {
  public enum Verdict: String, Sendable, CaseIterable {
    case ok
    /// Works now; may hurt later, or can't be seen with these rights.
    case warn
    /// Doesn't work, or will not for long.
    case fail
  }

  /// Stable, e.g. `mongodb.oplog_window`.
  public var id: String
  public var verdict: Verdict
  /// What was seen, with the figures that led to the verdict. Holds no secret.
  public var evidence: String
  /// What to do about it: commands for mongosh are ready to paste, explanations in them are
  /// comments. Nil where nothing is to be done.
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

/// What the deployment is checked against, besides what every bridge needs.
public struct MongoDemands: Sendable {
  /// Where reading will go on.
  public var checkpoint: ResumePoint?
  /// Where reading will begin, if there is no place to go on at.
  public var start: OplogPosition?
  /// False: change streams are read, and say themselves how far back they reach.
  public var readsOplog = true
  /// Where the place is lost, a snapshot closes the gap.
  public var snapshotsOnLoss = false
  /// The databases that rules match. Empty: all.
  public var databases: [String] = []
  /// Collections (`db.collection`) whose events want the document as it was before.
  public var preImages: [String] = []
  /// Those of them that can't do without.
  public var requiredPreImages: Set<String> = []
  /// What each rule takes.
  public var rules: [RuleDemand] = []
  /// The largest message that the NATS servers take (`max_payload`).
  public var maxPayload: Int?
  /// How far back the oplog should reach: the longest outage to be survived.
  public var minimumWindow = Duration.seconds(24 * 3600)
  /// After this, nothing more is asked; what is under way ends within seconds.
  public var timeLimit = Duration.seconds(20)

  public init() {}
}

/// What one rule asks of the database.
public struct RuleDemand: Sendable {
  public var rule: String
  /// A glob over `database.collection`, as it is written.
  public var namespace: String
  /// Where the glob leaves no choice.
  public var database: String?
  public var collection: String?
  public var matches: @Sendable (String) -> Bool
  /// What documents are read for, besides the oplog; nil: nothing.
  public var reads: String?
  /// Without them the bridge does not work.
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
