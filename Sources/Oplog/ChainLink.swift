public import BSON

/// The link from an oplog entry to the previous one of its transaction, to find the transaction's first
/// entry from a later one.
///
///     var link = try ChainLink(entry)
///     while let previous = link.previous { link = try ChainLink(the entry at previous) }
///
/// Retryable writes are linked in the same way. The views point into the entry's bytes.
public struct ChainLink {
  /// The entry's own optime.
  public var opTime: OpTime
  /// The entry named by `prevOpTime`; nil for the first entry of a chain, or one without a chain.
  public var previous: OplogPosition?
  public var lsid: BSONView?
  public var txnNumber: Int64?

  public init(_ entry: BSONView) throws(OplogError) {
    var operation = Operation()
    do throws(OplogError) {
      try operation.read(entry)
      guard let position = operation.position else { throw OplogError(.missingField("ts")) }
      opTime = OpTime(position: position, term: operation.term)
    } catch {
      throw OplogError(error.reason, at: operation.position)
    }
    previous = operation.previous
    lsid = operation.lsid
    txnNumber = operation.txnNumber
  }
}
