/// The headers of an answer to a direct read: the message's own, and behind them those that the server adds.
/// Borrows the block they are in, which is valid during one `NATSRawHandler.received`.
struct DirectMessage {
  /// The message's own block, without its empty line; only the version line where it has no headers.
  private(set) var headers: UnsafeRawBufferPointer
  private(set) var stream = UnsafeRawBufferPointer(start: nil, count: 0)
  private(set) var sequence: UInt64 = 0

  /// - Returns: nil where the server's headers are not at the end.
  init?(_ block: UnsafeRawBufferPointer) {
    guard block.count > 2 else { return nil }
    headers = UnsafeRawBufferPointer(rebasing: block.dropLast(2))
    // Each is taken once: a message may have headers of these names itself, as copies from another stream do.
    var hasStream = false
    var hasSequence = false
    var others = 0
    while !hasStream || !hasSequence || others < 2 {
      guard let line = lastLine else { return nil }
      if !hasStream, let value = line.value(ofHeader: "Nats-Stream") {
        hasStream = true
        stream = value
      } else if !hasSequence, let value = line.value(ofHeader: "Nats-Sequence"),
        let number = UInt64(String(decoding: value, as: UTF8.self))
      {
        hasSequence = true
        sequence = number
      } else if others < 2,
        line.value(ofHeader: "Nats-Subject") != nil
          || line.value(ofHeader: "Nats-Time-Stamp") != nil
      {
        others += 1
      } else {
        return nil
      }
      headers = UnsafeRawBufferPointer(rebasing: headers.dropLast(line.count))
    }
  }

  private var lastLine: UnsafeRawBufferPointer? {
    guard headers.last == 0x0A else { return nil }
    var start = headers.count - 1
    while start > 0, headers[start - 1] != 0x0A { start -= 1 }
    return UnsafeRawBufferPointer(rebasing: headers[start...])
  }
}
