import BridgeConfiguration
import JSON
import JetStream

/// Whether a stream that is called like the catalogue's bucket keeps what is published there. Pure.
struct SchemaBucket {
  let name: String
  let config: JSONValue

  private var stream: String { "KV_\(name)" }

  /// Why the catalogue can't be in it; nil if it can.
  ///
  /// - Parameter size: of a value that is to be written; nil: none is.
  func refusal(toWrite size: Int?) -> String? {
    let keys = "$KV.\(name).>"
    let subjects = config["subjects"]?.arrayValue?.compactMap(\.stringValue) ?? []
    guard subjects.contains(where: { subjectIsCovered(keys, by: $0) }) else {
      let present = subjects.isEmpty ? "no subjects of its own" : subjects.joined(separator: ", ")
      return
        "the stream \(stream) is no bucket for schemas: it takes \(present), and their subjects are \(keys). "
        + "Give that stream another name, or publish in another account"
    }
    guard let size else { return nil }
    if let retention = config["retention"]?.stringValue, retention != "limits" {
      return
        "the retention of the stream \(stream) is \(retention): versions would not be kept. Make the bucket again: "
        + "nats kv add \(name)"
    }
    if config["discard_new_per_subject"]?.boolValue == true {
      return
        "the stream \(stream) takes one value for a key and no other (discard_new_per_subject): "
        + "which version is the highest can't be noted"
    }
    return config.streamLimit("max_msg_size").flatMap {
      Self.refusal(ofSize: size, maximum: $0, "max_msg_size of the stream \(stream)")
    }
  }

  /// Why versions would vanish; nil if they stay.
  var warning: String? {
    if let age = config.streamLimit("max_age") {
      return
        "the values of the bucket \(name) expire after \(max(1, age / 1_000_000_000)) s, and with them the versions of "
        + "schemas: nats stream edit \(stream) --max-age=0"
    }
    for limit in ["max_msgs", "max_bytes"] where config["discard"]?.stringValue != "new" {
      guard let most = config.streamLimit(limit) else { continue }
      return
        "the bucket \(name) drops its oldest values, and with them versions of schemas, beyond \(limit) \(most): "
        + "nats stream edit \(stream) --discard=new"
    }
    return nil
  }

  /// What a value's headers may take.
  private static let headers = 128

  static func refusal(ofSize size: Int, maximum: Int, _ limit: String) -> String? {
    guard size + headers > maximum else { return nil }
    return
      "the schema has \(size) bytes (as canonical JSON), and the \(limit) is \(maximum): raise it, or make the schema "
      + "smaller, as by leaving out examples and descriptions"
  }
}
