/// Collections that MongoDB keeps for itself, or that drivers keep parts of something in: no application's documents.
public enum SystemNamespace {
  private static let databases: Set<String> = ["admin", "config", "local"]

  /// Why no rule is proposed for a collection; nil if it is an application's.
  ///
  /// - Parameter named: databases that are asked for.
  public static func reason(_ database: String, _ collection: String, named: [String]) -> String? {
    if databases.contains(database), !named.contains(database) {
      return "the database \(database) is MongoDB's own"
    }
    if collection.hasPrefix("system.buckets.") { return "the buckets of a time series" }
    if collection.hasPrefix("system.") { return "MongoDB's own" }
    if collection.hasPrefix("enxcol_.") { return "MongoDB's own, of an encrypted collection" }
    if collection.hasPrefix("tmp.agg_out.") || collection.hasPrefix("tmp.mr.") {
      return "results while they are made"
    }
    return collection.hasSuffix(".chunks") ? "parts of files (GridFS)" : nil
  }
}
