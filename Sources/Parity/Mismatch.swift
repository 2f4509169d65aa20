public import Oplog

/// The kinds of mismatches in a stream.
public enum MismatchClass: String, Sendable, CaseIterable {
  /// A change has no message, and the stream has no hole where it could have been.
  case missing
  /// A message of the bridge without an oplog entry.
  case extra
  /// The same id is stored twice.
  case duplicate
  /// It follows messages of later changes.
  case reordered
  /// Subject, headers or body differ from what the change yields.
  case payloadMismatch = "payload_mismatch"
  /// The body also violates the rule's schema.
  case schemaInvalid = "schema_invalid"
  /// A change has no message, and the stream has a hole at its position: it was removed.
  case gap
}

/// One mismatch.
public struct Mismatch: Sendable, Equatable {
  public var kind: MismatchClass
  public var id: String
  public var position: EventPosition?
  public var rule: String
  public var subject: String
  public var stream: String
  /// The stored message's sequence, if there is one.
  public var sequence: UInt64?
  /// A readable description.
  public var detail: String
  /// A JSON pointer to the first difference in the body.
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

/// Counts by kind.
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
