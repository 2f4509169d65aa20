internal import BSON
public import Oplog

/// A change stream resume token: opaque except for its cluster time.
public struct ResumeToken: Hashable, Sendable {
  /// One BSON document, up to twice as long as a document key.
  public let bytes: [UInt8]
  /// The cluster time; nil if the token's format is unknown. It can still be used.
  public let position: OplogPosition?
  /// A position between events. Any other token belongs to an event: a server that resumes after it
  /// proves that it has the event in its history.
  public let isHighWaterMark: Bool

  /// Nil if `bytes` is not a document with a field `_data`.
  public init?(bytes: [UInt8]) {
    self.bytes = bytes
    guard let (position, isHighWaterMark) = bytes.withUnsafeBytes({ Self.read($0) }) else {
      return nil
    }
    self.position = position
    self.isHighWaterMark = isHighWaterMark
  }

  init?(_ document: BSONView) { self.init(bytes: Array(document.bytes)) }

  private static func read(_ bytes: UnsafeRawBufferPointer) -> (OplogPosition?, Bool)? {
    guard let view = try? BSONView(bytes), view.bytes.count == bytes.count,
      (try? view.validate(utf8: false)) != nil, let data = try? view.first("_data")
    else { return nil }
    let token = data.string.flatMap { ChangeStreamToken($0) }
    return (token?.position, token?.isHighWaterMark ?? false)
  }
}

extension ResumeToken: CustomStringConvertible {
  public var description: String {
    let place = position.map { "\($0)" } ?? "an unknown position"
    return isHighWaterMark ? "the high-water mark at \(place)" : "the event at \(place)"
  }
}
