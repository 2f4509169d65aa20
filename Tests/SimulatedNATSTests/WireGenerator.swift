import SimulatedJetStream
import TestRandom

/// Conversations of two clients: core messages, a stream, consumers and pulls of all kinds.
struct WireGenerator {
  private var random: SeededRandom
  private let prefix: String
  private var step = 0
  private var subscriptions = 0
  /// Each belongs to one consumer: the order of what several deliver is the server's.
  private var inboxes: [(sid: Int, consumer: String)] = []
  private var ephemerals = 0

  init(seed: UInt64, prefix: String) {
    random = SeededRandom(seed: seed)
    self.prefix = prefix
  }

  private var stream: String { "\(prefix)S" }
  private var consumer: String { mutating get { "c\(random.below(3))" } }
  /// Some were not made to last.
  private var anyConsumer: String {
    mutating get { random.chance(1, in: 5) ? "n\(consumer)" : consumer }
  }

  /// Both connections are ready, and the stream is there.
  mutating func beginning() -> [WireStep] {
    let greeting = "CONNECT \(SimulatedClients.options)\r\nPING\r\n"
    let settings =
      #"{"name":"\#(stream)","subjects":["\#(prefix)s.>"],"allow_direct":true}"#
    return [
      WireStep(client: 0, text: greeting), WireStep(client: 1, text: greeting),
      WireStep(client: 0, text: "SUB \(prefix)in.> 1\r\nPING\r\n"),
      WireStep(client: 1, text: "SUB \(prefix)other.> 1\r\nPING\r\n"),
      ask("STREAM.CREATE.\(stream)", settings),
    ]
  }

  mutating func end() -> [WireStep] { [ask("STREAM.DELETE.\(stream)")] }

  mutating func next() -> WireStep {
    step += 1
    switch random.below(24) {
    case 0...4: return publish()
    case 5: return core()
    case 6: return subscribe()
    case 7...8: return create()
    case 9:
      return ask(
        random.pick([
          "CONSUMER.INFO.\(stream).\(anyConsumer)", "CONSUMER.INFO.\(stream).\(anyConsumer)",
          "CONSUMER.NAMES.\(stream)", "CONSUMER.INFO.\(prefix)none.c", "STREAM.INFO.\(stream)",
        ]))
    case 10:
      return ask("CONSUMER.DELETE.\(stream).\(anyConsumer)", random.chance(1, in: 10) ? "x" : "")
    case 11: return other()
    case 12: return unsubscribe()
    default: return pull()
    }
  }

  private func ask(_ operation: String, _ body: String = "", namesConsumer: Bool = false)
    -> WireStep
  {
    WireStep(
      text: request("$JS.API.\(operation)", body, reply: "\(prefix)in.\(step)"),
      namesConsumer: namesConsumer)
  }

  // MARK: - Messages

  private mutating func publish() -> WireStep {
    var text = ""
    // Of several at once the first may be delivered before the second is stored.
    for index in 0..<(inboxes.isEmpty ? 1 + random.below(4) : 1) {
      let body = String(repeating: "x", count: random.pick([0, 5, 40, 200]))
      let reply = "\(prefix)in.\(step).\(index)"
      let subject = "\(prefix)s.\(random.below(3))"
      if random.chance(1, in: 2) {
        let headers = "NATS/1.0\r\nN: \(step).\(index)\r\n\r\n"
        text +=
          "HPUB \(subject) \(reply) \(headers.utf8.count) \(headers.utf8.count + body.utf8.count)\r\n"
          + "\(headers)\(body)\r\n"
      } else {
        text += request(subject, body, reply: reply)
      }
    }
    return WireStep(text: text)
  }

  private mutating func core() -> WireStep {
    let subject = random.pick(["q.a", "q.b", "q.a.b", "nobody", "other.x"])
    let client = random.below(2)
    let reply = random.pick(["", "in.core", "other.core"])
    let body = random.pick(["", "hallo"])
    return WireStep(
      client: client,
      text: "PUB \(prefix)\(subject) \(reply.isEmpty ? "" : prefix + reply) \(body.utf8.count)\r\n"
        + "\(body)\r\nPING\r\n")
  }

  /// A queue group has one member, since the server chooses among several by chance.
  private mutating func subscribe() -> WireStep {
    subscriptions += 1
    let sid = 100 + subscriptions
    let subject = random.pick(["q.a", "q.*", "q.>", "q.a.*", ">", "q..a", "q.a"])
    let queue = random.chance(1, in: 3) ? "g\(sid) " : ""
    var text = "SUB \(subject == ">" ? "" : prefix)\(subject == ">" ? prefix + "q.>" : subject) "
    text += "\(queue)\(sid)\r\n"
    if random.chance(1, in: 3) { text += "UNSUB \(sid) \(1 + random.below(3))\r\n" }
    return WireStep(client: random.below(2), text: text + "PING\r\n")
  }

  private mutating func unsubscribe() -> WireStep {
    if random.chance(1, in: 3), let inbox = inboxes.popLast() {
      return WireStep(text: "UNSUB \(inbox.sid)\r\nPING\r\n")
    }
    let sid = 100 + random.below(subscriptions + 2)
    let most = random.pick(["", " 1", " 4"])
    return WireStep(client: random.below(2), text: "UNSUB \(sid)\(most)\r\nPING\r\n")
  }

  private mutating func other() -> WireStep {
    switch random.below(6) {
    case 1: ask("STREAM.PURGE.\(stream)", #"{"keep":\#(random.below(4))}"#)
    case 2: ask("STREAM.MSG.DELETE.\(stream)", #"{"seq":\#(random.below(12))}"#)
    case 3: ask("DIRECT.GET.\(stream)", #"{"seq":\#(random.below(12))}"#)
    case 4: ask("DIRECT.GET.\(prefix)none", #"{"seq":1}"#)
    case 5: ask("CONSUMER.MSG.NEXT.\(stream).none", #"{"batch":1}"#)
    default: ask("STREAM.MSG.GET.\(stream)", #"{"seq":\#(random.below(12))}"#)
    }
  }

  // MARK: - Consumers

  private mutating func create() -> WireStep {
    let name = consumer
    var settings = random.pick([
      #""ack_policy":"none""#, #""ack_policy":"none""#, #""ack_policy":"explicit""#,
      #""ack_policy":"none","headers_only":true"#, #""ack_policy":"explicit","max_ack_pending":3"#,
    ])
    switch random.below(8) {
    case 0:
      settings += #","deliver_policy":"by_start_sequence","opt_start_seq":\#(random.below(9))"#
    case 1: settings += #","deliver_policy":"by_start_sequence","opt_start_seq":4"#
    case 2: settings += #","deliver_policy":"new""#
    case 3: settings += #","opt_start_seq":4"#
    case 4: settings += #","max_batch":6"#
    case 6: settings += #","max_waiting":2"#
    default: break
    }
    // What servers count after a change of filters differs.
    if name == "c1" { settings += #","filter_subject":"\#(prefix)s.1""# }
    if name == "c2" { settings += #","filter_subject":"\#(prefix)s.*""# }
    let owner = random.chance(1, in: 20) ? "\(prefix)none" : stream
    func body(_ extra: String) -> String {
      let action = random.chance(1, in: 6) ? random.pick(["create", "update"]) : ""
      let acts = action.isEmpty ? "" : #","action":"\#(action)""#
      return #"{"stream_name":"\#(owner)","config":{\#(extra)\#(settings)}\#(acts)}"#
    }
    switch random.below(10) {
    case 0: return ask("CONSUMER.DURABLE.CREATE.\(stream).\(name)", body(""))
    case 1: return ask("CONSUMER.DURABLE.CREATE.\(stream).\(name)", body(#""durable_name":"x","#))
    case 2: return ask("CONSUMER.CREATE.\(stream)", body(#""durable_name":"x","#))
    case 3: return ask("CONSUMER.CREATE.\(stream).\(name)", "{")
    case 4:
      let inactive = #""inactive_threshold":30000000000,"num_replicas":1,"mem_storage":true"#
      ephemerals += 1
      return ask(
        "CONSUMER.CREATE.\(stream)",
        #"{"stream_name":"\#(stream)","config":{"deliver_policy":"by_start_sequence","#
          + #""opt_start_seq":2,"ack_policy":"none",\#(inactive)}}"#,
        namesConsumer: true)
    case 5:
      return ask(
        "CONSUMER.CREATE.\(stream).n\(name)",
        body(#""name":"n\#(name)","inactive_threshold":60000000000,"#))
    default:
      return ask(
        "CONSUMER.DURABLE.CREATE.\(stream).\(name)", body(#""durable_name":"\#(name)","#))
    }
  }

  /// To an inbox of its own, or to one that has been pulled to before.
  private mutating func pull() -> WireStep {
    var text = ""
    let inbox: Int
    let name: String
    if !inboxes.isEmpty, random.chance(1, in: 3) {
      (inbox, name) = random.pick(inboxes)
    } else {
      inbox = 1000 + step
      name =
        ephemerals > 0 && random.chance(1, in: 3) ? "{E\(random.below(ephemerals))}" : anyConsumer
      inboxes.append((inbox, name))
      text = "SUB \(prefix)p.\(inbox) \(inbox)\r\n"
    }
    let subject = "$JS.API.CONSUMER.MSG.NEXT.\(stream).\(name)"
    func one(_ body: String) -> String { request(subject, body, reply: "\(prefix)p.\(inbox)") }
    let batch = random.pick([1, 2, 3, 7, 30])
    let limit = random.pick(["", "", #","max_bytes":\#(random.pick([40, 100, 130, 300, 9999]))"#])
    switch random.below(8) {
    case 0:
      return WireStep(text: text + one(#"{"batch":\#(batch),"no_wait":true\#(limit)}"#), wait: 0.02)
    case 1:
      return WireStep(
        text: text + one(#"{"batch":\#(batch),"expires":150000000\#(limit)}"#), wait: 0.25)
    case 2:
      return WireStep(
        text: text + one(#"{"batch":\#(batch),"no_wait":true,"expires":150000000\#(limit)}"#),
        wait: 0.25)
    case 3:
      return WireStep(text: text + one(random.pick(["", "2", "x", #"{"batch":"#])), wait: 0.02)
    case 4: return ask("CONSUMER.INFO.\(stream).\(name)")
    default:
      return WireStep(
        text: text + one(#"{"batch":\#(batch),"expires":60000000000\#(limit)}"#), wait: 0.02)
    }
  }
}
