package import JSON

/// The owner of a stream by its metadata, and what that means for this bridge.
///
/// The metadata of an exclusive stream names its bridge (nats-server keeps it from 2.10 on), so that
/// two bridges that both expect to be the only publisher are detected before they publish.
package enum StreamClaim: Sendable, Equatable {
  /// Nothing to do.
  case settled
  /// It has no owner yet: name this bridge in the metadata.
  case claim
  /// The metadata names this bridge, which shares the stream now: remove the name.
  case release
  /// It belongs to another bridge exclusively.
  case refused(owner: String)
  /// This bridge shares it, and another one expects to be the only publisher.
  case contested(owner: String)

  package static let key = "tailrace-bridge"

  package static func owner(_ config: JSONValue) -> String? {
    config["metadata"]?[key]?.stringValue.flatMap { $0.isEmpty ? nil : $0 }
  }

  /// The stream's metadata with that owner, or without one; everything else is kept.
  package static func metadata(_ config: JSONValue, owner: String?) -> JSONValue {
    var metadata = config["metadata"] ?? .object([])
    metadata[key] = owner.map { .string($0) }
    return metadata
  }

  /// `config`: the stream's, an empty object where there is none yet.
  package static func decide(
    _ config: JSONValue, bridge: String, isExclusive: Bool, serverKeepsMetadata: Bool
  ) -> StreamClaim {
    switch owner(config) {
    case bridge: isExclusive ? .settled : .release
    case let other?: isExclusive ? .refused(owner: other) : .contested(owner: other)
    case nil: isExclusive && serverKeepsMetadata ? .claim : .settled
    }
  }

  /// The operator's remedy for another bridge's claim.
  static func explanation(stream: String, owner: String, bridge: String) -> String {
    """
    stream \(stream) belongs to bridge \(owner) alone (metadata \(key)), and this is bridge \(bridge). \
    Give this bridge a stream of its own, or say ownership: shared in both configurations. If bridge \
    \(owner) is gone or was renamed: nats stream edit \(stream) --metadata \(key)=\(bridge)
    """
  }
}
