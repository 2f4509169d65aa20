package import NIOCore

/// Keeps what is left of an unfinished operation until the next read.
///
/// Usually nothing is left: then the chunk that was read is parsed in place and goes back to its
/// pool. Only remainders are copied.
package struct InboundBuffer: Sendable {
  private var kept = ByteBuffer()
  /// Capacity beyond this is given back once a large message is through.
  private static let keptCapacity = 1 << 20

  package init() {}

  /// What to parse now: the remainder, if any, followed by `chunk`.
  ///
  /// Give it back with `putBack`, so that the remainder's memory is used again.
  package mutating func take(adding chunk: consuming ByteBuffer) -> ByteBuffer {
    guard kept.readableBytes > 0 else { return chunk }
    var buffer = ByteBuffer()
    swap(&buffer, &kept)
    buffer.writeBuffer(&chunk)
    return buffer
  }

  /// Keeps the unread bytes of `buffer`.
  ///
  /// - Parameter isOwn: whether `take` had joined a remainder and the chunk, so that the memory is
  ///   our own.
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

  /// Whether a remainder waits for its rest.
  package var isEmpty: Bool { kept.readableBytes == 0 }
}
