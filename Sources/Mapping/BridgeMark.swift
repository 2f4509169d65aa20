/// How a bridge's messages name their bridge, if other bridges may write to the same stream.
///
/// Dead letters always name their bridge; messages do in the streams that are marked here. In a
/// stream that the bridge alone writes to, there is nothing to distinguish.
public struct BridgeMark: Sendable, Equatable {
  /// The value of `Tailrace-Bridge`.
  public var bridge: String
  /// By `Rule.streamIndex`: whether messages in that stream name their bridge.
  public var streams: [Bool]
  /// Whether dead letters have ids of their own from the start; see `DeadLetterID`.
  public var qualifiesLetterIDs: Bool

  public init(bridge: String, streams: [Bool], qualifiesLetterIDs: Bool = false) {
    self.bridge = bridge
    self.streams = streams
    self.qualifiesLetterIDs = qualifiesLetterIDs
  }

  func isNamed(streamIndex: Int?) -> Bool {
    guard let streamIndex else { return false }
    return streams.indices.contains(streamIndex) && streams[streamIndex]
  }
}

/// The id of a dead letter: that of the message it would have been, unless another message may have
/// that id in the same stream. Then it is `<id>%letter:<bridge>:<rule>:<position>`, which is
/// unique: in every other id a `%` comes before two hexadecimal digits.
public enum DeadLetterID {
  static let separator: StaticString = "%letter:"

  /// The id of the message that the letter would have been.
  public static func wouldBe(_ id: String) -> String {
    var id = id
    return id.withUTF8 { bytes in
      String(decoding: wouldBe(UnsafeRawBufferPointer(bytes)), as: UTF8.self)
    }
  }

  /// The same within the bytes of an id.
  public static func wouldBe(_ id: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    let length = separator.utf8CodeUnitCount
    guard id.count >= length else { return id }
    var at = 0
    while at <= id.count - length {
      if id[at] == UInt8(ascii: "%"),
        (0..<length).allSatisfy({ id[at + $0] == separator.utf8Start[$0] })
      {
        return UnsafeRawBufferPointer(rebasing: id[..<at])
      }
      at += 1
    }
    return id
  }
}
