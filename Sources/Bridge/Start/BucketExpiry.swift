import BridgeConfiguration
import JSON
import Mapping
import NATS

/// Expiry of single entries of a bucket, which servers have from 2.11 on. Pure.
struct BucketExpiry: Sendable {
  private let stream: StreamSpec
  /// A rule whose entries expire by themselves.
  private let rule: String?

  static let first = NATSVersion(2, 11, 0)

  init(_ configuration: BridgeConfiguration, _ stream: StreamSpec) {
    self.stream = stream
    rule =
      configuration.rules.first { rule in
        rule.keyTTL != nil && configuration.destination(of: rule) == stream.name
      }?.name
  }

  /// What the server can't do of it.
  enum Lacking {
    case nothing
    /// Watchers aren't told of entries that expired.
    case markers(String)
    case expiry(StartRefusal)

    func note(in plan: inout StreamPlan) {
      switch self {
      case .nothing: break
      case .markers(let warning): plan.warnings.append(warning)
      case .expiry(let refusal): plan.refusal = plan.refusal ?? refusal
      }
    }
  }

  /// Takes out settings that the server would silently ignore.
  func adapt(_ settings: inout JSONValue, version: NATSVersion) -> Lacking {
    guard let bucket = stream.bucket, version < Self.first,
      settings["allow_msg_ttl"]?.boolValue == true
    else { return .nothing }
    settings["allow_msg_ttl"] = nil
    settings["subject_delete_marker_ttl"] = nil
    if let rule {
      return .expiry(
        .stream(
          stream.name,
          "kv.ttl of rule \(rule) needs nats-server \(Self.first), this is \(version)",
          remedy: "# Let the whole bucket's entries expire:\nkv: [{ bucket: \(bucket), ttl: 5m }]"))
    }
    return .markers(
      "limit_marker_ttl needs nats-server \(Self.first), this is \(version): watchers of bucket \(bucket) are not told of entries that expire"
    )
  }
}
