import BSON

/// The command `applyOps`: several operations in one entry.
///
/// Transactions use it (the entry then has `lsid` and `txnNumber`), as do vectored inserts
/// (`multiOpType: 1`), the server's batched writes, and users' own `applyOps` commands. Only an `lsid`
/// next to `o` is the session: within `o` it is an argument of a user's command.
struct ApplyOps {
  /// The entry's role in its transaction.
  enum Role {
    /// The only entry: its operations take effect at once.
    case whole
    /// The transaction continues in a later entry.
    case part
    /// The last of the transaction's operations; a later entry commits or aborts it.
    case prepare
    /// The last of the transaction's operations, which commits it. Earlier entries have the others.
    case last
  }

  /// The operations, in order. Points into the entry's bytes.
  let operations: BSONElements
  private var isPartial = false
  private var isPrepared = false

  /// - Parameter object: a command entry's `o`. Nil for another command.
  init?(_ object: BSONView) throws(OplogError) {
    var walk = object.elements()
    guard let first = try walk.nextElement(), first.key.equals("applyOps") else { return nil }
    guard first.type == .array, let array = first.document else {
      throw first.wrongType("applyOps")
    }
    operations = array.elements()
    while let element = try walk.nextElement() {
      if element.key.equals("partialTxn") {
        isPartial = try element.requireBool("partialTxn")
      } else if element.key.equals("prepare") {
        isPrepared = try element.requireBool("prepare")
      }
    }
  }

  func role(in entry: Operation) throws(OplogError) -> Role {
    switch entry.multiOpType {
    case 0:
      guard isPartial || isPrepared else { return entry.previous == nil ? .whole : .last }
      guard !(isPartial && isPrepared) else {
        throw OplogError(.unsupportedTransaction(.contradictory))
      }
      return isPartial ? .part : .prepare
    // Entries of a vectored insert are independent; `prevOpTime` only links retries.
    case 1:
      try checkWhole()
      return .whole
    default: throw OplogError(.unsupportedTransaction(.unknownForm(entry.multiOpType)))
    }
  }

  /// Throws if the operations are marked as part of a transaction where they can't be, e.g. within
  /// another `applyOps`.
  func checkWhole() throws(OplogError) {
    if isPartial || isPrepared { throw OplogError(.unsupportedTransaction(.contradictory)) }
  }
}
