package import Oplog

/// Judges the documents that collections hold at one moment. Owned by one event loop.
package protocol DocumentJudge: AnyObject, SendableMetatype {
  associatedtype Found: Sendable

  /// A document, as an insert.
  func take(_ event: ChangeEvent) throws
  /// After all documents.
  func finish() -> Found
}
