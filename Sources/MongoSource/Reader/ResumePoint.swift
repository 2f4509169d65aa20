public import BSON
public import Oplog

/// The position and term of an oplog entry: a resume position that verifies that a server still has
/// the same history.
public struct ResumePoint: Hashable, Sendable, CustomStringConvertible {
  public var position: OplogPosition
  /// The election term of the entry. After a rollback, another entry may have the same position, but
  /// never the same term. Nil if unknown; then it isn't compared.
  public var term: Int64?

  public init(position: OplogPosition, term: Int64? = nil) {
    self.position = position
    self.term = term
  }

  /// Reads `ts` and `t` of an oplog entry, or of an optime such as `lastWrite.majorityOpTime`.
  /// Nil if there is no `ts`.
  public init?(_ entry: BSONView) throws(BSONError) {
    var position: OplogPosition?
    var term: Int64?
    var walk = entry.elements()
    while let element = try walk.next() {
      if element.key.equals("ts"), let ts = element.timestamp {
        position = OplogPosition(seconds: ts.seconds, increment: ts.increment)
      } else if element.key.equals("t") {
        term = element.integer
      }
    }
    guard let position else { return nil }
    self.init(position: position, term: term)
  }

  /// Whether `entry` is this entry.
  public func matches(_ entry: ResumePoint) -> Bool {
    guard position == entry.position else { return false }
    guard let term, let other = entry.term else { return true }
    return term == other
  }

  public var description: String {
    term.map { "\(position) (term \($0))" } ?? "\(position)"
  }
}
