package import NIOCore

/// Keeps the bytes of an incomplete operation until the next read.
///
/// Usually there are none: then the chunk is parsed in place and returns to its pool. Only remainders
/// are copied.
package struct InboundBuffer: Sendable {
  private var kept = ByteBuffer()
  /// More capacity is released after a large message.
  private static let keptCapacity = 1 << 20

  package init() {}

  /// The bytes to parse: the remainder, if any, followed by `chunk`.
  ///
  /// Return them with `putBack`, which reuses the memory.
  package mutating func take(adding chunk: consuming ByteBuffer) -> ByteBuffer {
    guard kept.readableBytes > 0 else { return chunk }
    var buffer = ByteBuffer()
    swap(&buffer, &kept)
    buffer.writeBuffer(&chunk)
    return buffer
  }

  /// Keeps the unread bytes of `buffer`.
  ///
  /// - Parameter isOwn: whether `take` joined a remainder and the chunk, so the memory isn't the pool's.
  package mutating func putBack(_ buffer: consuming ByteBuffer, isOwn: Bool) {
    if isOwn {
      if buffer.readableBytes == 0, buffer.capacity > Self.keptCapacity { return }
      buffer.discardReadBytes()
      kept = buffer
    } else if buffer.readableBytes > 0 {
      kept.clear()
      kept.writeBuffer(&buffer)
    }
  }

  /// Whether there is no remainder.
  package var isEmpty: Bool { kept.readableBytes == 0 }
}
