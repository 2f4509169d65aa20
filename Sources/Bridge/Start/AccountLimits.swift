package import JSON

/// What an account may still store, by `$JS.API.INFO`.
package struct AccountLimits {
  package let json: JSONValue
  /// The number of streams to be created.
  package let missing: Int
  /// The bytes that those reserve by `max_bytes`.
  package let reserving: Int64

  package init(_ json: JSONValue, missing: Int, reserving: Int64) {
    self.json = json
    self.missing = missing
    self.reserving = reserving
  }

  package func limit(_ key: String) -> Int64? {
    json["limits"]?[key]?.integer(Int64.self).flatMap { $0 >= 0 ? $0 : nil }
  }

  package var streams: Int64 { json["streams"]?.integer(Int64.self) ?? 0 }
  package var storage: Int64 { json["storage"]?.integer(Int64.self) ?? 0 }

  package var seen: String {
    var seen = "\(streams) streams, \(storage) bytes in files"
    if let most = limit("max_streams") { seen += " (max_streams \(most))" }
    if let most = limit("max_storage"), most > 0 { seen += " (max_storage \(most))" }
    return seen
  }

  /// Why the missing streams can't be created; nil if they can.
  package var shortage: (why: String, remedy: String)? {
    if let most = limit("max_streams"), streams + Int64(missing) > most {
      return (
        "\(seen): \(missing) more have to be made", "# raise max_streams of the account"
      )
    }
    guard let most = limit("max_storage"), most > 0, reserving > 0 else { return nil }
    let reserved = json["reserved_storage"]?.integer(Int64.self) ?? 0
    guard reserved + reserving > most else { return nil }
    return (
      "\(seen): \(reserved) bytes are reserved, and new streams reserve \(reserving) more by max_bytes",
      "# Raise the account's max_file, or lower max_bytes of the streams."
    )
  }
}
