import BSON

/// The command `applyOps`: several operations in one entry.
///
/// It carries transactions (the entry then has `lsid` and `txnNumber`), vectored inserts
/// (`multiOpType: 1`), the server's batched writes, and what users apply with the command of that
/// name. `lsid` counts only beside `o`: within `o` it is an argument of the user's command.
struct ApplyOps {
  /// What an entry of this command is in its transaction.
  enum Role {
    /// All there is: its operations count at once.
    case whole
    /// The transaction goes on in a later entry.
    case part
    /// The last of the transaction's operations; a later entry commits or aborts it.
    case prepare
    /// The last of the transaction's operations, which commits it. Earlier entries have the others.
    case last
  }

  /// The operations, in order.
  let operations: BSONElements
  private var isPartial = false
  private var isPrepared = false

  /// Nil if `object`, a command entry's `o`, is another command.
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
    // Entries of a vectored insert are applied each by itself; `prevOpTime` only links retries.
    case 1:
      try checkWhole()
      return .whole
    default: throw OplogError(.unsupportedTransaction(.unknownForm(entry.multiOpType)))
    }
  }

  /// Throws if the operations are marked as a part of something, where there is nothing they could
  /// be a part of: within another `applyOps`, for one.
  func checkWhole() throws(OplogError) {
    if isPartial || isPrepared { throw OplogError(.unsupportedTransaction(.contradictory)) }
  }
}
