public import BSON

/// How an oplog entry is linked to the one before it in its transaction: for finding the first
/// entry of a transaction of which only a later one is at hand.
///
///     var link = try ChainLink(entry)
///     while let previous = link.previous { link = try ChainLink(the entry at previous) }
///
/// Retryable writes are linked in the same way. The views are the entry's own bytes.
public struct ChainLink: Sendable {
  /// Where the entry itself stands.
  public var place: OpTime
  /// What `prevOpTime` names; nil if the entry is the first of its chain, or of none.
  public var previous: OplogPosition?
  public var lsid: BSONView?
  public var txnNumber: Int64?

  public init(_ entry: BSONView) throws(OplogError) {
    var operation = Operation()
    do throws(OplogError) {
      try operation.read(entry)
      guard let position = operation.position else { throw OplogError(.missingField("ts")) }
      place = OpTime(position: position, term: operation.term)
    } catch {
      throw OplogError(error.reason, at: operation.position)
    }
    previous = operation.previous
    lsid = operation.lsid
    txnNumber = operation.txnNumber
  }
}
