package import BridgeConfiguration
package import JetStream

extension StreamMarks {
  /// Where the bridge first began, by the marks of its streams; nil if none has a position.
  package static func origin(
    of configuration: BridgeConfiguration, _ jetStream: JetStreamClient
  ) async throws(JetStreamError) -> Checkpoint.Origin? {
    var first: Checkpoint.Origin?
    for name in Set(configuration.streams.map(\.name) + [configuration.deadLetter.stream]) {
      guard let info = try await jetStream.stream(name),
        case .used(let from, let inclusive) = mark(of: configuration.bridge.name, in: info)
      else { continue }
      let origin = Checkpoint.Origin(position: from, inclusive: inclusive)
      first = first.map { min($0, origin) } ?? origin
    }
    return first
  }
}
