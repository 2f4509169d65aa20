import Mapping

extension BridgeConfiguration {
  /// What this bridge publishes to a stream, besides dead letters: subjects with `*` for the tokens that
  /// vary from event to event. Where an outbox names its own subjects, all that the stream takes.
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
