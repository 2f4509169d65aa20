import BridgeConfiguration
import JSON
import JetStream

/// Whether a stream named like the state bucket keeps what a bridge writes there. Pure.
struct BucketFitness: Sendable {
  let bucket: String
  let bridge: String
  let config: JSONValue

  init(_ bucket: String, bridge: String, _ config: JSONValue) {
    self.bucket = bucket
    self.bridge = bridge
    self.config = config
  }

  var refusal: StartRefusal? {
    guard let why else { return nil }
    return .bucket(
      bucket, why,
      remedy: """
        # In the configuration, a bucket that the bridge makes itself:
        bridge: { state_bucket: \(bucket)_\(bridge) }
        """)
  }

  private var why: String? {
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
    return nil
  }

  /// Of several streams with a refill each.
  private static let leastSize = 8192
}
