import JSON
import SimulatedJetStream
import TestRandom

/// Random steps, mostly meaningful: half of what they expect of a stream is right.
struct Generator {
  var random: SeededRandom
  let model: SimulatedServer
  let prefix: String
  private var fresh = 0
  private var openAtomic: (id: String, next: Int)?
  private var openFast: (id: String, next: Int, gap: String, flow: Int)?
  /// Nothing is removed, by limits or by steps.
  var keepsEverything = false
  /// Laid over what is chosen at random.
  var settings: JSONValue = .object([])

  init(seed: UInt64, model: SimulatedServer, prefix: String) {
    random = SeededRandom(seed: seed)
    self.model = model
    self.prefix = prefix
  }

  var name: String { "\(prefix)A" }
  private var stream: SimulatedStream? { model.streams[name] }
  private var rules: ServerRules { model.rules }
  /// Whether the outcome of a message is known only when it is replicated. Then each is answered before the next.
  private var replicates: Bool { model.isClustered }

  private func together(_ lines: [Line]) -> Step { replicates ? .send(lines) : .pipeline(lines) }

  private mutating func subject() -> String {
    random.chance(1, in: 60)
      ? "\(prefix).nobody" : "\(prefix).a.\(random.pick(["x", "x", "y", "z", "w.v"]))"
  }

  private mutating func id() -> String {
    if random.chance(2, in: 3) {
      fresh += 1
      return "n\(fresh)"
    }
    return "i\(random.below(5))"
  }

  private mutating func payload() -> [UInt8] {
    fresh += 1
    let size = random.pick([0, 5, 20, 60, 150])
    return Array("p\(fresh)".utf8) + [UInt8](repeating: 46, count: size)
  }

  // MARK: - Steps

  mutating func next() -> Step {
    guard stream != nil else { return create() }
    let kind = random.below(40)
    if keepsEverything, [27, 28, 29, 30, 36, 38].contains(kind) { return .send([single()]) }
    switch kind {
    case 0..<14: return .send([single()])
    case 14..<17: return chain()
    case 17..<22: return rules.knowsAtomicBatches ? atomic() : .send([single()])
    case 22..<27: return rules.knowsFastBatches ? fast() : .send([single()])
    case 27..<29: return purge()
    case 29..<31: return delete()
    case 31..<34: return get()
    case 34..<35:
      return .request(
        "STREAM.INFO.\(name)",
        random.chance(1, in: 2) ? nil : ["subjects_filter": .string(filter())])
    case 35: return create()
    case 36: return update()
    case 37: return keyValue()
    case 38:
      return random.chance(1, in: 3) ? .request("STREAM.DELETE.\(name)") : direct()
    default: return .request("STREAM.NAMES", ["subject": .string("\(prefix).a.x")])
    }
  }

  private mutating func create() -> Step {
    var wanted = randomSettings()
    wanted["name"] = .string(random.chance(1, in: 40) ? "\(prefix)other" : name)
    openAtomic = nil
    openFast = nil
    return .request("STREAM.CREATE.\(name)", wanted)
  }

  private mutating func update() -> Step {
    guard let present = stream?.configuration else { return create() }
    var wanted = present.json(rules)
    let other = randomSettings()
    for _ in 0..<(1 + random.below(2)) {
      let key = random.pick([
        "max_msgs", "max_bytes", "max_msgs_per_subject", "discard", "max_msg_size",
        "allow_rollup_hdrs",
        "deny_delete", "deny_purge", "allow_atomic", "allow_batched", "retention", "storage",
        "subjects",
        "duplicate_window", "metadata", "discard_new_per_subject", "allow_direct",
      ])
      wanted[key] = other[key]
    }
    if random.chance(1, in: 12) { wanted["sealed"] = true }
    wanted["mirror_direct"] = nil
    wanted["consumer_limits"] = nil
    return .request("STREAM.UPDATE.\(name)", wanted)
  }

  private mutating func randomSettings() -> JSONValue {
    var wanted: JSONValue = ["subjects": .array([.string("\(prefix).a.>")])]
    if random.chance(1, in: 20) {
      wanted["subjects"] = .array([
        .string(random.pick(["\(prefix).a.*", "\(prefix).a", "\(prefix)..a", "\(prefix).a.x"])),
        .string(random.pick(["\(prefix).b", "\(prefix).a.x"])),
      ])
    }
    if random.chance(1, in: 3) { wanted["max_msgs"] = .int(2 + random.below(8)) }
    if random.chance(1, in: 4) { wanted["max_bytes"] = .int(200 + random.below(1200)) }
    if random.chance(1, in: 3) { wanted["max_msgs_per_subject"] = .int(1 + random.below(3)) }
    if random.chance(1, in: 3) { wanted["discard"] = "new" }
    if random.chance(1, in: 6) { wanted["discard_new_per_subject"] = true }
    if random.chance(1, in: 5) { wanted["max_msg_size"] = .int(60 + random.below(200)) }
    if random.chance(1, in: 2) { wanted["allow_rollup_hdrs"] = true }
    if random.chance(1, in: 10) { wanted["deny_purge"] = true }
    if random.chance(1, in: 10) { wanted["deny_delete"] = true }
    if random.chance(1, in: 8) { wanted["storage"] = "memory" }
    if random.chance(1, in: 8) {
      wanted["retention"] = .string(random.pick(["interest", "workqueue"]))
    }
    if random.chance(1, in: 40) { wanted["no_ack"] = true }
    if random.chance(1, in: 10) { wanted["first_seq"] = .int(1 + random.below(50)) }
    if random.chance(1, in: 2) { wanted["allow_direct"] = true }
    if random.chance(1, in: 40) {
      wanted["duplicate_window"] = .int(random.pick([50_000_000, -1, 60_000_000_000]))
    }
    if random.chance(1, in: 60) {
      wanted["max_age"] = .int(random.pick([50_000_000, 30_000_000_000]))
    }
    if !replicates, random.chance(1, in: 60) { wanted["num_replicas"] = .int(random.pick([3, 6])) }
    if random.chance(1, in: 10) { wanted["metadata"] = ["owner": "somebody", "a": "b"] }
    if rules.knowsAtomicBatches, random.chance(4, in: 5) { wanted["allow_atomic"] = true }
    if rules.knowsFastBatches, random.chance(4, in: 5) { wanted["allow_batched"] = true }
    if keepsEverything {
      for key in [
        "max_msgs", "max_bytes", "max_msgs_per_subject", "discard_new_per_subject", "retention",
        "allow_rollup_hdrs",
      ] { wanted[key] = nil }
    }
    for member in settings.objectValue ?? [] { wanted[member.key] = member.value }
    return wanted
  }

  // MARK: - Publishing

  private mutating func expectedSequence() -> UInt64 {
    let last = stream?.lastSequence ?? 0
    switch random.below(6) {
    case 0: return last + 1
    case 1: return last > 0 ? last - 1 : 3
    default: return last
    }
  }

  private mutating func expectedSubjectSequence(_ subject: String) -> UInt64 {
    let last = stream?.store.last(on: subject)?.sequence ?? 0
    return random.chance(2, in: 3) ? last : UInt64(random.below(4)) + last / 2
  }

  private mutating func single() -> Line {
    let subject = subject()
    var line = Line(
      subject: subject, reply: !replicates && random.chance(1, in: 25) ? nil : "p",
      payload: payload())
    if random.chance(2, in: 3) { line.headers.append(("Nats-Msg-Id", id())) }
    if random.chance(1, in: 12) {
      line.headers.append(("Nats-Expected-Stream", random.chance(2, in: 3) ? name : "other"))
    }
    if random.chance(1, in: 4) {
      line.headers.append(("Nats-Expected-Last-Sequence", "\(expectedSequence())"))
    }
    if random.chance(1, in: 6) { addSubjectSequence(&line) }
    // On replicated streams a wrong last id makes 2.15.1 fall silent.
    if !replicates, random.chance(1, in: 8) {
      let known = stream?.store.messages.last.flatMap { Self.messageID($0) } ?? "i1"
      line.headers.append(("Nats-Expected-Last-Msg-Id", random.chance(2, in: 3) ? known : "i0"))
    }
    if random.chance(1, in: 8) {
      line.headers.append(("Nats-Rollup", random.pick(["sub", "sub", "all", "SUB", "some"])))
    }
    if random.chance(1, in: 60) { line.headers.append(("Nats-TTL", "never")) }
    if random.chance(1, in: 80) { line.headers.append(("Nats-Expected-Last-Sequence", "x")) }
    if random.chance(1, in: 300) {
      line.headers.append(("X", String(repeating: "h", count: 65_600)))
    }
    if random.chance(1, in: 6) { line.headers.append(("X-Own", "\(random.below(9))")) }
    random.shuffle(&line.headers)
    if random.chance(1, in: 4) { fill(&line) }
    return line
  }

  /// Gives the message the size that fills the stream to the byte.
  private func fill(_ line: inout Line) {
    guard let stream, stream.configuration.maxBytes > 0 else { return }
    let headers = line.headerBlock.count
    let record = stream.configuration.storage == .memory ? 16 : headers > 0 ? 34 : 30
    let left = stream.configuration.maxBytes - stream.store.bytes
    let size = Int(left) - line.subject.utf8.count - headers - record
    if size > 0 { line.payload = [UInt8](repeating: 45, count: size) }
  }

  private mutating func addSubjectSequence(_ line: inout Line) {
    var subject = line.subject
    if random.chance(1, in: 2) {
      subject = "\(prefix).a.\(random.pick(["x", "y", "z", "*", "none"]))"
      line.headers.append(("Nats-Expected-Last-Subject-Sequence-Subject", subject))
      if random.chance(1, in: 6) { return }
    }
    line.headers.append(
      ("Nats-Expected-Last-Subject-Sequence", "\(expectedSubjectSequence(subject))"))
  }

  private static func messageID(_ message: StoredMessage) -> String? {
    String(decoding: message.headers, as: UTF8.self).split(separator: "\r\n")
      .first { $0.hasPrefix("Nats-Msg-Id: ") }.map { String($0.dropFirst(13)) }
  }

  /// As the bridge publishes on exclusive streams.
  private mutating func chain() -> Step {
    var lines: [Line] = []
    var last = expectedSequence()
    var lastID = ""
    for number in 0..<(2 + random.below(6)) {
      let id = id()
      var line = Line(
        subject: subject(), reply: "c\(number)", headers: [("Nats-Msg-Id", id)], payload: payload())
      if !lastID.isEmpty, !replicates, random.chance(5, in: 6) {
        line.headers.append(("Nats-Expected-Last-Msg-Id", lastID))
      }
      line.headers.append(("Nats-Expected-Last-Sequence", "\(last)"))
      lastID = id
      last += random.chance(1, in: 12) ? 2 : 1
      lines.append(line)
    }
    return random.chance(3, in: 4) ? together(lines) : .send(lines)
  }

  private mutating func atomic() -> Step {
    // Servers compare the messages of a random subject of the batch with the limit of each.
    if let limits = stream?.configuration, limits.discardNewPerSubject,
      limits.maxMessages > 0 || limits.maxBytes > 0
    {
      return .send([single()])
    }
    var lines: [Line] = []
    let count: Int
    if random.chance(1, in: 150) {
      count = 998 + random.below(5)
    } else {
      count = 1 + random.below(6)
    }
    let isOpen = openAtomic != nil && random.chance(2, in: 3)
    fresh += 1
    var id = isOpen ? openAtomic?.id ?? "" : "b\(fresh)"
    if random.chance(1, in: 60) { id = String(repeating: "b", count: 65) }
    let first = isOpen ? openAtomic?.next ?? 1 : 1
    let staysOpen = random.chance(1, in: 6)
    for offset in 0..<count {
      var line = Line(subject: subject(), reply: "a\(offset)", payload: payload())
      if count > 50 { line.payload = [] }
      if count > 50 || random.chance(1, in: 3) { line.subject = "\(prefix).a.x" }
      if random.chance(1, in: 8) { line.reply = nil }
      if random.chance(1, in: 2) { line.headers.append(("Nats-Msg-Id", self.id())) }
      if offset == 0 && !isOpen ? random.chance(1, in: 2) : random.chance(1, in: 30) {
        line.headers.append(("Nats-Expected-Last-Sequence", "\(expectedSequence())"))
      }
      if random.chance(1, in: 12) { addSubjectSequence(&line) }
      if random.chance(1, in: 25) {
        line.headers.append(("Nats-Rollup", random.pick(["sub", "all"])))
      }
      if random.chance(1, in: 100) { line.headers.append(("Nats-Expected-Last-Msg-Id", "i1")) }
      if random.chance(1, in: 60) {
        line.headers.append(("Nats-Expected-Stream", random.pick([name, "o"])))
      }
      line.headers.append(("Nats-Batch-Id", id))
      let sequence = first + offset + (random.chance(1, in: 60) ? 1 : 0)
      if !random.chance(1, in: 120) { line.headers.append(("Nats-Batch-Sequence", "\(sequence)")) }
      if offset == count - 1, !staysOpen {
        line.reply = "end"
        line.headers.append(
          ("Nats-Batch-Commit", random.pick(["1", "1", "1", "1", "1", "1", "eob", "2"])))
      }
      lines.append(line)
    }
    openAtomic = staysOpen ? (id, first + count) : nil
    return count > 50 || random.chance(1, in: 2) ? together(lines) : .send(lines)
  }

  private mutating func fast() -> Step {
    let isOpen = openFast != nil && random.chance(2, in: 3)
    fresh += 1
    let id =
      isOpen
      ? openFast?.id ?? ""
      : random.chance(1, in: 60) ? String(repeating: "f", count: 65) : "f\(fresh)"
    let first = isOpen ? openFast?.next ?? 1 : 1
    let gap = isOpen ? openFast?.gap ?? "fail" : random.chance(4, in: 5) ? "fail" : "ok"
    let flow = isOpen ? openFast?.flow ?? 1 : replicates ? 1 : random.pick([1, 2, 3, 5, 200])
    let count = 1 + random.below(8)
    let staysOpen = random.chance(1, in: 4)
    var lines: [Line] = []
    var sequence = first
    for offset in 0..<count {
      var line = Line(subject: subject(), payload: payload())
      if random.chance(1, in: 2) { line.headers.append(("Nats-Msg-Id", self.id())) }
      if offset == 0 && !isOpen ? random.chance(1, in: 2) : random.chance(1, in: 25) {
        line.headers.append(("Nats-Expected-Last-Sequence", "\(expectedSequence())"))
      }
      if random.chance(1, in: 12) { addSubjectSequence(&line) }
      if !replicates, random.chance(1, in: 30) {
        line.headers.append(("Nats-Expected-Last-Msg-Id", "i1"))
      }
      if random.chance(1, in: 40) { line.headers.append(("Nats-Rollup", "sub")) }
      var operation = sequence == 1 ? 0 : 1
      if offset == count - 1, !staysOpen { operation = random.pick([2, 2, 3]) }
      if random.chance(1, in: 30) { operation = 4 }
      if random.chance(1, in: 100) { operation = random.below(7) }
      if operation >= 3 {
        line.headers = []
        line.payload = []
      }
      line.reply =
        "\(id).\(flow).\(gap).\(operation == 4 ? max(sequence - 1, 1) : sequence).\(operation).$FI"
      if operation != 4 { sequence += random.chance(1, in: 40) ? 2 : 1 }
      lines.append(line)
    }
    openFast = staysOpen ? (id, sequence, gap, flow) : nil
    return random.chance(1, in: 2) ? together(lines) : .send(lines)
  }

  /// Compare-and-set as a bucket's users do it: create, update, delete, purge.
  private mutating func keyValue() -> Step {
    let subject = "\(prefix).a.\(random.pick(["x", "y"]))"
    var line = Line(subject: subject, reply: "kv", payload: payload())
    if random.chance(3, in: 4) {
      line.headers.append(
        ("Nats-Expected-Last-Subject-Sequence", "\(expectedSubjectSequence(subject))"))
    }
    switch random.below(4) {
    case 0: line.headers.append(("KV-Operation", "DEL"))
    case 1: line.headers += [("KV-Operation", "PURGE"), ("Nats-Rollup", "sub")]
    default: break
    }
    if line.headers.count > 1 { line.payload = [] }
    return .send([line])
  }

  // MARK: - Requests

  private mutating func filter() -> String {
    "\(prefix).\(random.pick(["a.x", "a.*", "a.>", "a.y", "a.none", ">"]))"
  }

  private mutating func sequence() -> UInt64 {
    let first = stream?.store.firstSequence ?? 0
    let last = stream?.store.lastSequence ?? 0
    let low = first > 1 ? first - 2 : 0
    return low + UInt64(random.below(Int(last + 4 - min(low, last))))
  }

  private mutating func purge() -> Step {
    var body: JSONValue = .object([])
    if random.chance(2, in: 3) {
      body["filter"] = .string(random.chance(1, in: 8) ? ">" : filter())
    }
    if random.chance(1, in: 2) { body["keep"] = .int(random.below(4)) }
    if random.chance(1, in: 2) {
      let below = sequence()
      // Before 2.15 the first sequence stays behind where that leaves nothing.
      let top = stream?.store.messages.last?.sequence ?? 0
      if !rules.purgesAllBelowOne || below <= top { body["seq"] = .int(below) }
    }
    return .request("STREAM.PURGE.\(name)", body)
  }

  private mutating func delete() -> Step {
    var sequence = sequence()
    // 2.10 does not find a subject's last message any more when the one behind it was deleted.
    if !rules.knowsMessageTTL, let store = stream?.store, let message = store[sequence],
      store.last(on: message.subject)?.sequence == sequence
    {
      sequence = 0
    }
    // … and resets a replicated stream that is to delete what is beyond its end.
    if !rules.knowsMessageTTL, replicates {
      sequence = min(sequence, stream?.store.lastSequence ?? 0)
    }
    var body: JSONValue = ["seq": .int(sequence)]
    if random.chance(1, in: 2) { body["no_erase"] = true }
    return .request("STREAM.MSG.DELETE.\(name)", body)
  }

  private mutating func query() -> JSONValue {
    var body: JSONValue = .object([])
    if random.chance(2, in: 3) { body["seq"] = .int(sequence()) }
    if random.chance(1, in: 3) { body["next_by_subj"] = .string(filter()) }
    if random.chance(1, in: 3) {
      body["last_by_subj"] = .string(random.chance(1, in: 8) ? ">" : filter())
    }
    return body
  }

  private mutating func get() -> Step { .request("STREAM.MSG.GET.\(name)", query()) }

  private mutating func direct() -> Step {
    guard stream?.configuration.allowDirect == true, !replicates else { return get() }
    if random.chance(1, in: 2) { return .request("DIRECT.GET.\(name)", query()) }
    return .request("DIRECT.GET.\(name).\(prefix).a.\(random.pick(["x", "y", "none"]))")
  }
}

extension SeededRandom {
  mutating func shuffle<T>(_ items: inout [T]) {
    for index in items.indices.dropFirst().reversed() { items.swapAt(index, below(index + 1)) }
  }
}
