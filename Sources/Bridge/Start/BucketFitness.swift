import BridgeConfiguration
package import JSON
import JetStream

/// Whether a stream named like the state bucket keeps what a bridge writes there. Pure.
package struct BucketFitness: Sendable {
  package let bucket: String
  package let bridge: String
  package let config: JSONValue

  package init(_ bucket: String, bridge: String, _ config: JSONValue) {
    self.bucket = bucket
    self.bridge = bridge
    self.config = config
  }

  package var refusal: StartRefusal? {
    guard let why else { return nil }
    return .bucket(
      bucket, why,
      remedy: """
        # In the configuration, a bucket that the bridge makes itself:
        bridge: { state_bucket: \(bucket)_\(bridge) }
        """)
  }

  /// Why it doesn't; nil if it does.
  package var why: String? {
    let keys = "$KV.\(bucket).\(bridge).>"
    let subjects = config["subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    let fitness = StreamFitness(config, subjects: [keys], isExclusive: false, allowsMemory: true)
    if let refusal = fitness.refusal { return refusal }
    guard subjects.contains(where: { subjectIsCovered(keys, by: $0) }) else {
      return
        "it is no bucket: it takes \(subjects.joined(separator: ", ")), and the checkpoint's subjects are \(keys)"
    }
    if let retention = config["retention"]?.stringValue, retention != "limits" {
      return "its retention is \(retention): the checkpoint would not be kept"
    }
    if config["discard_new_per_subject"]?.boolValue == true {
      return "discard_new_per_subject is set: the checkpoint could be written only once"
    }
    if let size = config.streamLimit("max_msg_size"), size < Self.leastSize {
      return "max_msg_size is \(size): a checkpoint may take \(Self.leastSize) bytes"
    }
    return limits
  }

  /// Why limits of the whole bucket would remove a checkpoint, or refuse one: an idle bridge's is the bucket's
  /// oldest value.
  private var limits: String? {
    if config.streamLimit("max_age") != nil {
      return "its values expire (max_age): the checkpoint of an idle bridge would be gone"
    }
    for (limit, least) in [("max_msgs", Self.leastValues), ("max_bytes", Self.leastBytes)] {
      guard let most = config.streamLimit(limit) else { continue }
      if config["discard"]?.stringValue != "new" {
        return
          "\(limit) is \(most) with discard: old: the checkpoint of an idle bridge would be removed"
      }
      if most < least {
        return "\(limit) is \(most): a bridge may need \(least)"
      }
    }
    return nil
  }

  /// The size of a checkpoint with several streams, each with a refill.
  private static let leastSize = 8192
  /// Checkpoint, claim, and their company.
  private static let leastValues = 16
  private static let leastBytes = 16 * leastSize
}
