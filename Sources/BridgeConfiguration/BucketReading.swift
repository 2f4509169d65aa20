import JSON
import Mapping

/// `kv`: buckets that rules put entries into. A bucket is a stream underneath, and has its place among the
/// configuration's streams, behind the others.
extension StreamSpec {
  private enum Storage: String, CaseIterable { case file, memory }

  /// The stream of a bucket.
  static func stream(ofBucket name: String) -> String { "KV_\(name)" }

  static func readBuckets(_ root: Section, stateBucket: String) -> [StreamSpec] {
    guard let node = root.node("kv") else { return [] }
    guard case .sequence(let items, _) = node else {
      root.problems.add(
        node.position, "kv is \(node.kind), not a list", "write - bucket: … items")
      return []
    }
    var buckets: [StreamSpec] = []
    for (index, item) in items.enumerated() {
      let section = Section(
        item, name: "kv[\(index)]", at: item.position, problems: root.problems)
      guard let bucket = readBucket(section) else { continue }
      if let name = section.scalar("bucket") {
        if buckets.contains(where: { $0.name == bucket.name }) {
          root.problems.add(
            name.position, "there is another bucket named \(name.text)",
            "give each bucket a name of its own")
        }
        if name.text == stateBucket {
          root.problems.add(
            name.position, "\(name.text) is the bridge's own state bucket",
            "name another bucket, or another bridge.state_bucket")
        }
      }
      buckets.append(bucket)
    }
    return buckets
  }

  private static func readBucket(_ section: Section) -> StreamSpec? {
    let name = section.scalar("bucket")
    if let name {
      section.checkName(name, key: "bucket", dots: false)
    } else {
      section.missing("bucket", "add bucket: presence")
    }
    let hour = 3_600_000_000_000 as Int64
    let ttl = nanoseconds(section, "ttl", least: .milliseconds(100))
    let marker = nanoseconds(section, "limit_marker_ttl", least: .seconds(1))
    let history = count(section, "history", 1...64) ?? 1
    let replicas = count(section, "replicas", 1...5) ?? 1
    let storage: Storage = section.choice("storage", default: .file)
    let maximumBytes = size(section, "max_bytes")
    let maximumValue = size(section, "max_value_size")
    let ownership: StreamOwnership = section.choice("ownership", default: .exclusive)
    let onLoss: OnLoss = section.choice("on_loss", default: .refill)
    let publish: PublishProtocol = section.choice("publish", default: .auto)
    if publish == .atomic {
      section.problems.add(
        section.position(of: "publish"), "an atomic batch can't put a key and purge it",
        "use auto, fast or chain")
    }
    section.finish()
    guard let name else { return nil }
    let window = min(ttl.map { $0 > 0 ? $0 : hour } ?? hour, 120_000_000_000)
    var settings: JSONValue = [
      "max_msgs_per_subject": .int(history), "max_age": .int(ttl ?? 0),
      "max_bytes": .int(maximumBytes ?? -1), "max_msg_size": .int(maximumValue ?? -1),
      "storage": .string(storage.rawValue), "num_replicas": .int(replicas),
      "retention": "limits", "discard": "new", "allow_rollup_hdrs": true, "deny_delete": true,
      "allow_direct": true, "duplicate_window": .int(window),
    ]
    if let marker, marker > 0 {
      settings["allow_msg_ttl"] = true
      settings["subject_delete_marker_ttl"] = .int(marker)
    }
    var spec = StreamSpec(
      name: stream(ofBucket: name.text), subjects: ["\(KeyTemplate.prefix(bucket: name.text))>"],
      ownership: ownership, publish: publish, onLoss: onLoss, settings: settings)
    spec.bucket = name.text
    return spec
  }

  private static func nanoseconds(_ section: Section, _ key: String, least: Duration) -> Int64? {
    guard section.node(key) != nil else { return nil }
    if section.scalar(key)?.text == "0" { return 0 }
    let duration = section.duration(key, default: .zero, in: least...(.seconds(3_153_600_000)))
    let (seconds, rest) = duration.components
    return seconds * 1_000_000_000 + rest / 1_000_000_000
  }

  private static func count(_ section: Section, _ key: String, _ range: ClosedRange<Int64>)
    -> Int64?
  {
    guard let scalar = section.scalar(key) else { return nil }
    if let number = Int64(scalar.text), range.contains(number) { return number }
    section.problems.add(
      scalar.position, "\(section.path(key)) can't be \"\(scalar.text)\"",
      "write a whole number from \(range.lowerBound) to \(range.upperBound)")
    return nil
  }

  private static func size(_ section: Section, _ key: String) -> Int64? {
    guard let scalar = section.scalar(key, Units.sizeRemedy) else { return nil }
    if let bytes = Int64(scalar.text) ?? Units.bytes(scalar.text), bytes >= -1 {
      return bytes == 0 ? -1 : bytes
    }
    section.problems.add(
      scalar.position, "\(section.path(key)) is \"\(scalar.text)\", not a size", Units.sizeRemedy)
    return nil
  }
}
