import BSON

/// The command `applyOps`: several operations in one entry.
///
/// It carries transactions (the entry then has `lsid` and `txnNumber`), vectored inserts
/// (`multiOpType: 1`), the server's batched writes, and what users apply with the command of that
/// name. `lsid` counts only beside `o`: within `o` it is an argument of the user's command.
struct ApplyOps {
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

  /// Throws unless the entry alone says what happened and that it is final.
  func checkComplete(in entry: Operation) throws(OplogError) {
    if isPartial { throw OplogError(.unsupportedTransaction(.partial)) }
    if isPrepared { throw OplogError(.unsupportedTransaction(.prepared)) }
    switch entry.multiOpType {
    case 0: if entry.hasPrevious { throw OplogError(.unsupportedTransaction(.endOfChain)) }
    // Entries of a vectored insert are applied each by itself; `prevOpTime` only links retries.
    case 1: break
    default: throw OplogError(.unsupportedTransaction(.unknownForm(entry.multiOpType)))
    }
  }
}
