public import BSON

/// An oplog entry that can't be decoded. The reader must stop at it: to continue would lose a change.
public struct OplogError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: Equatable, Sendable {
    /// The bytes are not BSON. The offset counts from the document being read: the entry or one inside.
    case corrupt(BSONError)
    /// A required field is missing; with its path.
    case missingField(String)
    /// A field has the wrong type.
    case wrongType(field: String, found: BSONType)
    /// Not `db.collection`.
    case badNamespace(String)
    /// An entry format newer than 2 (the field `v`).
    case unsupportedVersion(Int64)
    /// An unknown `op`.
    case unknownOperation(String)
    /// A command (the first key of `o`) that is unknown, or whose effect is not in its entry.
    case unknownCommand(String)
    /// An update whose `$v` is neither 1 nor 2.
    case unsupportedUpdate(version: Int64)
    /// An unknown or misplaced key in an update, or a binary diff.
    case unknownDiffSection(String)
    /// An update description exceeds its limit. Internal to the decoder, which returns the event without it.
    case updateTooLarge
    case unsupportedTransaction(TransactionForm)
    /// The entry commits a transaction with earlier entries that were not read, the last of them at
    /// `previous`. The oplog is intact: reading started in the middle of the transaction and must start at
    /// its first entry (see `ChainLink`).
    case missingEarlierEntries(previous: OplogPosition)
    /// An open transaction did not fit in memory, and writing it to a temporary file failed.
    case spillFailed(directory: String, detail: String)
  }

  /// Inconsistent transactions and lists of operations.
  public enum TransactionForm: Equatable, Sendable {
    /// Operations marked as part of a transaction (`partialTxn`, `prepare`) where they can't be, such as
    /// within another `applyOps`, or a commit that doesn't match the start.
    case contradictory
    /// A transaction is prepared, or committed after that, without `lsid` and `txnNumber`.
    case unnamed
    /// A `multiOpType` that is neither 0 nor 1.
    case unknownForm(Int64)
    /// Nested `applyOps`, deeper than any server allows.
    case tooDeep
  }

  public var reason: Reason
  /// The entry; nil if its `ts` could not be read.
  public var position: OplogPosition?

  public init(_ reason: Reason, at position: OplogPosition? = nil) {
    self.reason = reason
    self.position = position
  }

  public var description: String {
    let place = position.map { "the oplog entry at \($0)" } ?? "an oplog entry without a position"
    return "cannot decode \(place): \(reason.description). \(reason.remedy)."
  }
}

extension OplogError.Reason: CustomStringConvertible {
  public var description: String {
    switch self {
    case .corrupt(let error): error.description
    case .missingField(let field): "the field \"\(field)\" is missing"
    case .wrongType(let field, let found): "the field \"\(field)\" has the type \(found)"
    case .badNamespace(let name): "\"\(name)\" is not a namespace (database.collection)"
    case .unsupportedVersion(let v): "its format version \(v) is unknown (known are 1 and 2)"
    case .unknownOperation(let op): "its operation type \"\(op)\" is unknown"
    case .unknownCommand(let name):
      "its command \"\(name)\" is not supported, because its effect on documents is not in the entry"
    case .unsupportedUpdate(let v): "its update format $v:\(v) is unknown (known are 1 and 2)"
    case .unknownDiffSection(let key):
      "its update has an unknown or misplaced section \"\(key)\""
    case .updateTooLarge: "its update description is too large"
    case .unsupportedTransaction(let form): form.description
    case .missingEarlierEntries(let previous):
      "it commits a transaction whose earlier entries, the last of them at \(previous), were not read"
    case .spillFailed(let directory, let detail):
      "it belongs to a transaction too large for memory, and its temporary file in \(directory)"
        + " failed (\(detail))"
    }
  }

  /// What the operator can do.
  var remedy: String {
    switch self {
    case .corrupt, .missingField, .wrongType, .badNamespace:
      "Read from another member, and run validate on this one's local.oplog.rs"
    case .unsupportedVersion, .unknownOperation, .unsupportedUpdate, .unknownDiffSection:
      "Nothing was skipped; a newer release may support this server's format"
    case .unknownCommand, .updateTooLarge:
      "Nothing was skipped; inspect the entry, then deliberately move the checkpoint past it"
    case .unsupportedTransaction:
      "Nothing was skipped; read from another member, and inspect the entry"
    case .missingEarlierEntries:
      "Nothing was skipped; read again from the transaction's first entry (follow prevOpTime)"
    case .spillFailed:
      "Nothing was skipped, and it is retried; free some space there, or set TMPDIR to a directory with"
        + " enough space and restart"
    }
  }
}

extension OplogError.TransactionForm: CustomStringConvertible {
  public var description: String {
    switch self {
    case .contradictory: "its parts of a transaction are inconsistent"
    case .unnamed: "it prepares or commits a transaction without naming it (lsid, txnNumber)"
    case .unknownForm(let type): "its multiOpType \(type) is unknown (known are 0 and 1)"
    case .tooDeep: "its applyOps are nested more than \(OplogDecoder.maximumNesting) deep"
    }
  }
}
