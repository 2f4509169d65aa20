import JSON

/// The server's own words in an answer that refuses. Off the hot path, which needs the code alone.
enum RefusalText {
  /// `error.description`, or nothing.
  static func words(_ payload: UnsafeRawBufferPointer) -> String {
    (try? JSONValue(parsing: payload))?["error"]?["description"]?.stringValue ?? ""
  }
}
