import BSON

/// The number of skipped operations on one collection's time-series buckets.
public struct TimeSeriesCount: Hashable, Sendable {
  /// The user's name for the collection, `db.collection`; "others" for all after the first
  /// `TimeSeriesCounts.maximumNames`.
  public var collection: String
  public var operations: UInt64
}

/// The counts of a bounded number of collections. Off the hot path: it may allocate.
struct TimeSeriesCounts {
  static var maximumNames: Int { 64 }

  private(set) var total: UInt64 = 0
  private var names: [(bytes: [UInt8], operations: UInt64)] = []
  private var others: UInt64 = 0

  /// Counts one operation in `namespace`, `<db>.system.buckets.<collection>`.
  mutating func count(_ namespace: Namespace) {
    total &+= 1
    if let at = names.firstIndex(where: { name in
      name.bytes.withUnsafeBytes { $0.equals(namespace.bytes) }
    }) {
      names[at].operations &+= 1
    } else if names.count < Self.maximumNames {
      names.append((Array(namespace.bytes), 1))
    } else {
      others &+= 1
    }
  }

  /// In the order of their first operations.
  var byCollection: [TimeSeriesCount] {
    var counts = names.map { name in
      TimeSeriesCount(
        collection: Self.userName(String(decoding: name.bytes, as: UTF8.self)),
        operations: name.operations)
    }
    if others > 0 { counts.append(TimeSeriesCount(collection: "others", operations: others)) }
    return counts
  }

  private static func userName(_ buckets: String) -> String {
    let prefix = ".system.buckets."
    guard let dot = buckets.firstIndex(of: "."), buckets[dot...].hasPrefix(prefix) else {
      return buckets
    }
    return "\(buckets[..<dot]).\(buckets[dot...].dropFirst(prefix.count))"
  }
}
