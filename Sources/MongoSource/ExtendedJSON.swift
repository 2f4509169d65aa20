internal import CMongoC

/// MongoDB's Extended JSON (canonical or relaxed) as BSON bytes. Offline: nothing is connected to.
public enum ExtendedJSON {
  /// What is wrong with a text that should be one document.
  public struct Malformed: Error, Sendable, CustomStringConvertible {
    public var description: String
  }

  /// Reads one document. Keys keep their order and may repeat.
  public static func bson(_ text: some StringProtocol) throws(Malformed) -> [UInt8] {
    var text = String(text)
    var error = bson_error_t()
    let parsed = text.withUTF8 { bytes in
      bson_new_from_json(bytes.baseAddress, bytes.count, &error)
    }
    guard let parsed else {
      throw Malformed(description: String(cString: tailrace_error_message(&error)))
    }
    defer { bson_destroy(parsed) }
    guard let data = bson_get_data(parsed) else { throw Malformed(description: "no document") }
    // libbson keeps the length in the document's first four bytes.
    let length = Int32(littleEndian: UnsafeRawPointer(data).loadUnaligned(as: Int32.self))
    return Array(UnsafeRawBufferPointer(start: data, count: Int(max(length, 0))))
  }
}
