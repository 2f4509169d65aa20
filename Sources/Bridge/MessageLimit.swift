import Mapping

/// How large a message may be. Decided by what the event makes of it alone, with an allowance for the
/// headers that publish protocols add: whether an event becomes a message or a dead letter must not
/// depend on the protocol, nor on what stands before it in a batch.
enum MessageLimit {
  /// Bytes left for the protocol's own headers.
  static let allowance = 256

  /// - Parameters:
  ///   - size: header block and body, without the protocol's headers.
  ///   - limit: of the server and the stream.
  static func check(_ size: Int, limit: Int) throws(MappingError) {
    guard size <= limit - allowance else {
      throw MappingError(
        .payloadTooLarge,
        "the message has \(size) bytes with its headers; the limit is \(limit), of which publishing takes \(allowance)"
      )
    }
  }

  /// Header lines and body in a message: the block's first and last line come to it.
  static func size(headers: Int, body: Int) -> Int { headers + 12 + body }

  /// What the body of a dead letter may have.
  static func deadLetterBody(headers: Int, limit: Int) -> Int {
    limit - allowance - size(headers: headers, body: 0)
  }
}
