/// What a server supports, by its version.
struct ServerCapabilities {
  /// Reads at a cluster time outside of transactions: 5.0.
  var readsAtClusterTime: Bool
  /// `collectionUUID` in commands: 6.0.
  var checksUUIDs: Bool
  /// `changeStreamPreAndPostImages`: 6.0.
  var keepsPreImages: Bool
  /// `showExpandedEvents` in change streams, for DDL events: 6.0.
  var expandsEvents: Bool

  /// - Parameter version: e.g. "6.0.5"
  init(version: String) {
    let major = version.split(separator: ".").first.flatMap { Int($0) } ?? 0
    readsAtClusterTime = major >= 5
    checksUUIDs = major >= 6
    keepsPreImages = major >= 6
    expandsEvents = major >= 6
  }
}
