import Mapping

extension BridgeConfiguration {
  /// The subjects that this bridge publishes to in a stream, besides dead letters, with `*` for tokens that
  /// vary from event to event. If an outbox names its own subjects, all subjects of the stream.
  public func publishedSubjects(to stream: Int) -> [String] {
    var found: [String] = []
    for rule in rules where rule.streamIndex == stream {
      let patterns =
        rule.outbox != nil
        ? streams[stream].subjects
        : SubjectShape.shapes(
          of: rule.subject, operations: rule.operations, namespace: rule.namespace
        ).map(\.pattern)
      for pattern in patterns where !found.contains(pattern) { found.append(pattern) }
    }
    return found
  }
}
