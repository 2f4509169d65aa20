import Bytes

/// Tells duplicates from conflicts. The lane knows nothing of events; who publishes them does.
public struct DuplicateJudge: Sendable {
  /// Nil: the original is the same event. Else what it is instead. The original is nil where it is no
  /// longer in the stream.
  public var difference: @Sendable (_ message: Content, _ original: Content?) -> String?
  /// What header lines alone say of a message's event.
  public var mark: @Sendable (_ headers: UnsafeRawBufferPointer) -> StoredIDs.Mark

  /// What is compared of a message. Cheap to make: many are, and of most a header or two are read.
  public struct Content: Sendable {
    /// Header lines, each with its end; the version line may stand before them.
    public var headers: [UInt8]
    private var body: [UInt8]
    private var isBase64: Bool
    /// Its sequence; 0 for what is not stored yet.
    public var sequence: UInt64

    public init(headers: [UInt8], payload: [UInt8], sequence: UInt64 = 0) {
      self.init(headers: headers, body: payload, isBase64: false, sequence: sequence)
    }

    init(headers: [UInt8], body: [UInt8], isBase64: Bool, sequence: UInt64) {
      self.headers = headers
      self.body = body
      self.isBase64 = isBase64
      self.sequence = sequence
    }

    /// Whether its headers begin with these lines.
    func hasLines(_ lines: UnsafeRawBufferPointer) -> Bool {
      let version = Array("NATS/1.0\r\n".utf8)
      let own = headers.starts(with: version) ? headers.dropFirst(version.count) : headers[...]
      return own.starts(with: lines)
    }

    public var payload: [UInt8] {
      isBase64 ? Base64.decode(String(decoding: body, as: UTF8.self)) ?? [] : body
    }

    /// The first header of that name.
    public func header(_ name: String) -> String? {
      headers.withUnsafeBytes { bytes in
        bytes.value(ofHeader: name.utf8).map { String(decoding: $0, as: UTF8.self) }
      }
    }
  }

  public init(
    difference: @escaping @Sendable (_ message: Content, _ original: Content?) -> String?,
    mark: @escaping @Sendable (_ headers: UnsafeRawBufferPointer) -> StoredIDs.Mark = { _ in
      StoredIDs.unclear
    }
  ) {
    self.difference = difference
    self.mark = mark
  }
}

extension UnsafeRawBufferPointer {
  /// The value of the first header line of that name.
  func value(ofHeader name: StaticString) -> UnsafeRawBufferPointer? {
    value(
      ofHeader: UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
  }

  fileprivate func value(
    ofHeader name: some Collection<UInt8>
  ) -> UnsafeRawBufferPointer? {
    var line = 0
    while line < count {
      var end = line
      while end < count, self[end] != 13 { end += 1 }
      let value = line + name.count + 2
      if value <= end, self[value - 2] == 58, self[line...].starts(with: name) {
        return UnsafeRawBufferPointer(rebasing: self[value..<end])
      }
      line = end + 2
    }
    return nil
  }
}
