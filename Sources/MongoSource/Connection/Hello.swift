package import BSON
internal import Oplog

/// A server's reply to `hello`, which needs no privilege.
package struct Hello: Sendable {
  package var setName: String?
  /// A router of a sharded cluster.
  var isRouter = false
  /// The replica set's primary.
  var isPrimary = false
  /// Belongs to a replica set that is not initiated yet.
  var awaitsInitiation = false
  /// This server's newest oplog entry, and the newest that it knows to be majority-committed.
  package var lastWrite: ResumePoint?
  package var majority: ResumePoint?
  /// When `majority` was written, by the primary's clock, and this server's clock now; milliseconds
  /// since 1970.
  package var majorityWallTime: Int64?
  package var localTime: Int64?

  package init(_ reply: BSONView) throws(BSONError) {
    var walk = reply.elements()
    while let element = try walk.next() {
      if element.key.equals("setName") {
        setName = element.text
      } else if element.key.equals("msg") {
        isRouter = element.string?.equals("isdbgrid") ?? false
      } else if element.key.equals("isWritablePrimary") || element.key.equals("ismaster") {
        isPrimary = isPrimary || element.bool ?? false
      } else if element.key.equals("isreplicaset") {
        awaitsInitiation = element.bool ?? false
      } else if element.key.equals("localTime") {
        localTime = element.date
      } else if element.key.equals("lastWrite"), element.type == .document {
        try readLastWrite(BSONView(element.value))
      }
    }
  }

  private mutating func readLastWrite(_ view: BSONView) throws(BSONError) {
    var walk = view.elements()
    while let element = try walk.next() {
      if element.key.equals("majorityWriteDate") { majorityWallTime = element.date }
      guard element.type == .document else { continue }
      if element.key.equals("opTime") {
        lastWrite = try Self.written(BSONView(element.value))
      } else if element.key.equals("majorityOpTime") {
        majority = try Self.written(BSONView(element.value))
      }
    }
  }

  /// A member without entries reports (0, 0), term -1.
  private static func written(_ opTime: BSONView) throws(BSONError) -> ResumePoint? {
    guard let point = try ResumePoint(opTime), point.position.value != 0 else { return nil }
    return point
  }
}

extension BSONElement {
  /// A string's text, with invalid UTF-8 replaced. For cold paths.
  var text: String? { string.map { String(decoding: $0, as: UTF8.self) } }
}
