public import Oplog

/// What can be wrong with a stream.
public enum MismatchClass: String, Sendable, CaseIterable {
  /// A change has no message, and there is no place where one could have been.
  case missing
  /// A message of the bridge that no oplog entry explains.
  case extra
  /// The same id stored twice.
  case duplicate
  /// It stands behind messages of later changes.
  case reordered
  /// Subject, a header or the body is not what the change makes.
  case payloadMismatch = "payload_mismatch"
  /// … and the body breaks the rule's schema.
  case schemaInvalid = "schema_invalid"
  /// A change has no message, and where it stood the stream has a hole: it was removed.
  case gap
}

/// One finding.
public struct Mismatch: Sendable, Equatable {
  public var kind: MismatchClass
  public var id: String
  public var position: EventPosition?
  public var rule: String
  public var subject: String
  public var stream: String
  /// Of the message as stored; nil where there is none.
  public var sequence: UInt64?
  /// For people.
  public var detail: String
  /// Into the body: the first place that differs.
  public var pointer: String?

  public init(
    kind: MismatchClass, id: String, position: EventPosition?, rule: String, subject: String,
    stream: String, sequence: UInt64?, detail: String, pointer: String? = nil
  ) {
    self.kind = kind
    self.id = id
    self.position = position
    self.rule = rule
    self.subject = subject
    self.stream = stream
    self.sequence = sequence
    self.detail = detail
    self.pointer = pointer
  }
}

/// How many of each.
public struct MismatchCounts: Sendable, Equatable {
  private var counts = [UInt64](repeating: 0, count: MismatchClass.allCases.count)

  public init() {}

  public subscript(_ kind: MismatchClass) -> UInt64 {
    get { counts[MismatchClass.allCases.firstIndex(of: kind) ?? 0] }
    set { counts[MismatchClass.allCases.firstIndex(of: kind) ?? 0] = newValue }
  }

  public static func += (sum: inout MismatchCounts, more: MismatchCounts) {
    for index in sum.counts.indices { sum.counts[index] &+= more.counts[index] }
  }

  public var total: UInt64 { counts.reduce(0, &+) }
}
