package import JSON

/// Who a stream belongs to, as its metadata says, and what that means for this bridge.
///
/// The metadata of an exclusive stream names its bridge (nats-server keeps it from 2.10 on), so that
/// two bridges that both take themselves for the only publisher are found out before they publish.
package enum StreamClaim: Sendable, Equatable {
  /// There is nothing to do.
  case settled
  /// Nobody has it yet: the metadata is to name this bridge.
  case claim
  /// The metadata names this bridge, which shares the stream now: the name is to go.
  case release
  /// It is another bridge's alone.
  case refused(owner: String)
  /// This bridge shares it, and another takes itself for the only publisher.
  case contested(owner: String)

  package static let key = "tailrace-bridge"

  package static func owner(_ config: JSONValue) -> String? {
    config["metadata"]?[key]?.stringValue.flatMap { $0.isEmpty ? nil : $0 }
  }

  /// The stream's metadata with that owner, or with none; all else in them stays.
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

  /// What an operator does about another bridge's claim.
  static func explanation(stream: String, owner: String, bridge: String) -> String {
    """
    stream \(stream) belongs to bridge \(owner) alone (metadata \(key)), and this is bridge \(bridge). \
    Give this bridge a stream of its own, or say ownership: shared in both configurations. If bridge \
    \(owner) is gone or was renamed: nats stream edit \(stream) --metadata \(key)=\(bridge)
    """
  }
}
