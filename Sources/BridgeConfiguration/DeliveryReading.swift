import Mapping
import Oplog

/// `delivery` of a rule, with `stream`, `kv` or `core`: where its messages go.
struct DeliveryReading {
  /// Buckets behind the others.
  let streams: [StreamSpec]
  /// There is something else than streams to deliver to.
  let hasOtherRoutes: Bool
  let problems: ProblemList

  enum Delivery: String, CaseIterable { case jetstream, core, kv }

  /// What `kv` and `core` say of a rule.
  struct Result {
    var route: Route?
    /// Of `kv`: the subject of its entries.
    var key: Template?
    var keyTTL: Int?
    var maximumAge: Int64 = 10_000
  }

  func read(_ section: Section) -> (Delivery, Result) {
    let delivery: Delivery = section.choice("delivery", default: .jetstream)
    var result = Result()
    switch delivery {
    case .jetstream:
      for key in ["kv", "core"] { refuse(section, [key], "it is for delivery: \(key)") }
      result.route = readStream(section).map { .stream(StreamID($0)) }
    case .core:
      refuse(section, ["kv", "stream", "on_id_conflict"], "signals are stored nowhere")
      let core = section.section("core")
      let age = core.duration(
        "max_age", default: .seconds(10), in: .milliseconds(1)...(.seconds(3600)))
      core.finish()
      let (seconds, rest) = age.components
      result.maximumAge = seconds * 1000 + rest / 1_000_000_000_000_000
      result.route = .core
    case .kv:
      refuse(section, ["core", "stream", "subject"], "entries go to kv.bucket, under kv.key")
      readBucket(section, &result)
    }
    return (delivery, result)
  }

  private func refuse(_ section: Section, _ keys: [String], _ why: String) {
    for key in keys where section.node(key) != nil {
      problems.add(section.position(of: key), "\(section.path(key)): \(why)", "take it out")
    }
  }

  private func readBucket(_ section: Section, _ result: inout Result) {
    guard section.node("kv") != nil else {
      section.missing("kv", "add kv: { bucket: presence, key: \"{documentKey._id}\" }")
      return
    }
    let kv = section.section("kv")
    let bucket = kv.scalar("bucket")
    let key = kv.scalar("key")
    if kv.node("ttl") != nil {
      let ttl = kv.duration("ttl", default: .seconds(1), in: .seconds(1)...(.seconds(31_536_000)))
      let (seconds, rest) = ttl.components
      if rest != 0 {
        problems.add(
          kv.position(of: "ttl"), "\(kv.path("ttl")) has a part of a second",
          "servers take whole seconds")
      }
      result.keyTTL = Int(seconds)
    }
    kv.finish()
    if bucket == nil, kv.node("bucket") == nil { kv.missing("bucket", "name a bucket of kv") }
    if key == nil, kv.node("key") == nil {
      kv.missing("key", "add one, such as key: \"{documentKey._id}\"")
    }
    guard let bucket else { return }
    let names = streams.compactMap(\.bucket)
    guard let index = streams.firstIndex(where: { $0.bucket == bucket.text }) else {
      let near = nearest(to: bucket.text, among: names)
      problems.add(
        bucket.position, "there is no bucket \(bucket.text)",
        near.map { "did you mean \($0)?" }
          ?? "define it under kv: [{ bucket: \(bucket.text) }]")
      return
    }
    result.route = .keyValue(BucketID(index))
    guard let key else { return }
    do throws(RuleSyntaxError) {
      result.key = try Template(key: key.text, bucket: bucket.text)
    } catch {
      problems.add(error, in: key)
    }
  }

  private func readStream(_ section: Section) -> Int? {
    let streams = streams.filter { $0.bucket == nil }
    let names = streams.map(\.name)
    guard let scalar = section.scalar("stream") else {
      if section.node("stream") == nil, streams.count > 1 {
        section.missing("stream", "name one: \(list(names))")
      } else if streams.isEmpty, hasOtherRoutes {
        section.missing("stream", "define it under streams, or say delivery: core or kv")
      }
      return streams.count == 1 ? 0 : nil
    }
    if let index = names.firstIndex(of: scalar.text) { return index }
    let near = nearest(to: scalar.text, among: names)
    problems.add(
      scalar.position, "there is no stream \(scalar.text)",
      near.map { "did you mean \($0)?" }
        ?? (names.isEmpty
          ? "define it under streams" : "define it under streams, or use \(list(names))"))
    return nil
  }
}

extension BridgeConfiguration {
  /// The rules whose messages are stored nowhere.
  package var signalRules: [Rule] { rules.filter { $0.route == .core } }

  /// Nothing that the bridge publishes is stored.
  package var hasSignalsOnly: Bool { !rules.isEmpty && rules.allSatisfy { $0.route == .core } }

  /// Whether the stream of that name is a KV bucket of the configuration.
  package func isBucket(_ stream: String) -> Bool {
    streams.contains { $0.name == stream && $0.bucket != nil }
  }

  /// The stream of the rule's messages, `core` where there is none.
  package func destination(of rule: Rule) -> String {
    rule.streamIndex.map { streams[$0].name } ?? "core"
  }
}

extension Section {
  /// Some rule says `delivery: core`. Looks only.
  var namesSignals: Bool {
    guard case .sequence(let items, _)? = node("rules") else { return false }
    return items.contains { item in
      guard case .mapping(let entries, _) = item else { return false }
      return entries.contains { $0.key.text == "delivery" && $0.value.scalar?.text == "core" }
    }
  }
}
