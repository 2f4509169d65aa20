internal import BSON
public import Oplog

/// A place in a change stream, as the server writes it: opaque, but for the cluster time in it.
public struct ResumeToken: Hashable, Sendable {
  /// One BSON document. As long as the keys of documents are, and twice that.
  public let bytes: [UInt8]
  /// The cluster time; nil if the token has an unknown form, which doesn't hinder its use.
  public let position: OplogPosition?
  /// A place between events. Other tokens are those of an event: a server that continues after one
  /// proves that it has this event in its history.
  public let isHighWaterMark: Bool

  /// Nil if `bytes` are not a document with a field `_data`.
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
    return isHighWaterMark ? "the mark at \(place)" : "the event at \(place)"
  }
}
