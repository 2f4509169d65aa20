public import BSON

/// Why an oplog entry cannot be turned into change events. Whoever reads the oplog stops at it:
/// going on would silently lose a change.
public struct OplogError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Reason: Equatable, Sendable {
    /// The bytes are not BSON. The offset counts from the document that was being walked: the
    /// entry itself, or one inside it.
    case corrupt(BSONError)
    /// A field that this kind of operation always has, as a path within it.
    case missingField(String)
    /// A field holds another type than its meaning needs.
    case wrongType(field: String, found: BSONType)
    /// Not `db.collection`.
    case badNamespace(String)
    /// An entry format newer than 2 (the field `v`).
    case unsupportedVersion(Int64)
    /// An `op` that is none of the known ones.
    case unknownOperation(String)
    /// A command (the first key of `o`) that is unknown, or whose effect no event can tell.
    case unknownCommand(String)
    /// An update whose `$v` is neither 1 nor 2.
    case unsupportedUpdate(version: Int64)
    /// A key that has no known meaning at its place in an update, or a binary diff.
    case unknownDiffSection(String)
    /// An update description of more bytes than are wanted. It stays within the decoder, which then has
    /// an event without it.
    case updateTooLarge
    case unsupportedTransaction(TransactionForm)
    /// The entry commits a transaction of which earlier entries were not read, the one at
    /// `previous` first of all. Nothing is wrong with the oplog: reading began in the middle of the
    /// transaction, and has to begin at its first entry (see `ChainLink`).
    case missingEarlierEntries(previous: OplogPosition)
    /// An open transaction did not fit in memory, and keeping it in a temporary file failed.
    case spillFailed(directory: String, detail: String)
  }

  /// Transactions and lists of operations that make no sense.
  public enum TransactionForm: Equatable, Sendable {
    /// Operations marked as a part of a transaction (`partialTxn`, `prepare`) where they can be none,
    /// as within another `applyOps`, or a transaction committed as it was not begun.
    case contradictory
    /// A transaction that is prepared, or committed after that, and not named by `lsid` and
    /// `txnNumber`.
    case unnamed
    /// A `multiOpType` that is neither 0 nor 1.
    case unknownForm(Int64)
    /// `applyOps` within `applyOps`, deeper than any server allows.
    case tooDeep
  }

  public var reason: Reason
  /// The entry it happened in; nil if its `ts` could not be read.
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
    case .missingField(let field): "it has no field \"\(field)\""
    case .wrongType(let field, let found): "its field \"\(field)\" is of type \(found)"
    case .badNamespace(let name): "\"\(name)\" is not a namespace (database.collection)"
    case .unsupportedVersion(let v): "its format version is \(v), and only 1 and 2 are known"
    case .unknownOperation(let op): "its operation type \"\(op)\" is unknown"
    case .unknownCommand(let name):
      "its command \"\(name)\" is not supported, because its effect on documents is not in the entry"
    case .unsupportedUpdate(let v): "its update format $v:\(v) is unknown (known are 1 and 2)"
    case .unknownDiffSection(let key):
      "its update holds \"\(key)\" where no such section is known"
    case .updateTooLarge: "its update description is too large"
    case .unsupportedTransaction(let form): form.description
    case .missingEarlierEntries(let previous):
      "it commits a transaction of which earlier entries, the last of them at \(previous), were not"
        + " read"
    case .spillFailed(let directory, let detail):
      "it belongs to a transaction too large for memory, and the temporary file in \(directory)"
        + " that should hold it failed (\(detail))"
    }
  }

  /// What an operator can do.
  var remedy: String {
    switch self {
    case .corrupt, .missingField, .wrongType, .badNamespace:
      "Read from another member, and check this one's local.oplog.rs with validate"
    case .unsupportedVersion, .unknownOperation, .unsupportedUpdate, .unknownDiffSection:
      "Nothing was skipped; a newer release may know this server's format"
    case .unknownCommand, .updateTooLarge:
      "Nothing was skipped; look at the entry, then move the checkpoint past it on purpose"
    case .unsupportedTransaction:
      "Nothing was skipped; read from another member, and look at the entry"
    case .missingEarlierEntries:
      "Nothing was skipped; read again from the transaction's first entry, which prevOpTime leads to"
    case .spillFailed:
      "Nothing was skipped, and it is tried again; make room there, or let TMPDIR name a directory with"
        + " room and restart"
    }
  }
}

extension OplogError.TransactionForm: CustomStringConvertible {
  public var description: String {
    switch self {
    case .contradictory: "its parts of a transaction do not go together"
    case .unnamed: "it prepares or commits a transaction without naming it (lsid, txnNumber)"
    case .unknownForm(let type): "its multiOpType \(type) is unknown (known are 0 and 1)"
    case .tooDeep: "its applyOps are nested more than \(OplogDecoder.maximumNesting) deep"
    }
  }
}
