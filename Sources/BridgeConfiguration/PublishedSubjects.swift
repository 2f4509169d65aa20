import Mapping

extension BridgeConfiguration {
  /// The subjects that this bridge publishes to in a stream, besides dead letters, with `*` for tokens that
  /// vary from event to event. If an outbox names its own subjects, or it is a bucket, all subjects of the
  /// stream.
  public func publishedSubjects(to stream: Int) -> [String] {
    var found: [String] = []
    for rule in rules where rule.streamIndex == stream {
      for pattern in subjectPatterns(of: rule) where !found.contains(pattern) {
        found.append(pattern)
      }
    }
    return found
  }
}
