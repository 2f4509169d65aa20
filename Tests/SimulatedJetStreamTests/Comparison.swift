import JSON
import SimulatedJetStream
import TestRandom

/// Where model and server differ.
struct Difference: Error, CustomStringConvertible, Sendable {
  var seed: UInt64
  var what: String
  var history: [Step]

  var description: String {
    """
    seed \(seed): \(what)
    after
    \(history.enumerated().map { "\($0.offset):\n\($0.element)" }.joined(separator: "\n"))
    """
  }
}

/// One sequence of steps, through the model and a nats-server at once.
final class Comparison {
  let seed: UInt64
  let model: SimulatedServer
  /// Replaced where the server was started again.
  var real: RealServer
  private var history: [Step] = []
  private(set) var answers = 0
  /// Seconds.
  private(set) var waited = 0.0
  /// Codes that were answered, and how often.
  private(set) var tally: [String: Int] = [:]

  init(seed: UInt64, model: SimulatedServer, real: RealServer) {
    self.seed = seed
    self.model = model
    self.real = real
  }

  /// - Throws: `Difference`.
  func run(_ step: Step) async throws {
    let number = history.count
    history.append(step)
    switch step {
    case .restart: break
    case .wait(let seconds):
      try await Task.sleep(for: .seconds(seconds))
      waited += seconds
      model.advance(to: model.now + Int64(seconds * 1_000_000_000))
    case .pipeline(let lines): try await compare(lines, number)
    case .send(let lines): for line in lines { try await compare([line], number) }
    }
  }

  private func compare(_ lines: [Line], _ number: Int) async throws {
    var lines = lines
    var expected = predict(lines, number)
    // What a stream does not answer is in order with what is behind it.
    if let probe = probe(behind: lines, expected, number) {
      lines.append(probe)
      expected += predict([probe], number)
    }
    real.send(lines, step: number)
    var heard: [Heard] = []
    if Self.isUnanswered(lines, expected, number), let last = lines.last,
      let stream = model.stream(taking: last.subject)
    {
      heard = try await settle(stream, number)
    }
    heard = Self.ordered(heard + (await real.hear(expected.count - heard.count)))
    // A server that makes a stream again at once can find a part of the old one.
    if expected.first?.content?["type"] == "io.nats.jetstream.api.v1.stream_delete_response" {
      try await Task.sleep(for: .milliseconds(50))
    }
    answers += heard.count
    for answer in heard { tally[Self.kind(answer), default: 0] += 1 }
    guard heard != expected else { return }
    throw Difference(
      seed: seed,
      what: """
        differs in step \(number)
        server: \(heard.map(\.description).joined(separator: "\n        "))
        model:  \(expected.map(\.description).joined(separator: "\n        "))
        """, history: history)
  }

  /// A message that the stream refuses, where the last of `lines` is not answered.
  private func probe(behind lines: [Line], _ expected: [Heard], _ number: Int) -> Line? {
    guard let last = lines.last, model.stream(taking: last.subject) != nil,
      Self.isUnanswered(lines, expected, number)
    else { return nil }
    return Line(
      subject: last.subject, reply: "probe", headers: [("Nats-Expected-Stream", "no-such-stream")])
  }

  /// Streams that acknowledge nothing: waits until the server's has come as far as the model's.
  ///
  /// - Returns: what else was heard meanwhile.
  private func settle(_ stream: SimulatedStream, _ number: Int) async throws -> [Heard] {
    let info = Line(
      subject: "$JS.API.STREAM.INFO.\(stream.configuration.name)", reply: "settle")
    var others: [Heard] = []
    for _ in 0..<60 {
      try await Task.sleep(for: .milliseconds(30))
      real.send([info], step: number)
      var state: JSONValue?
      while state == nil {
        let heard = await real.hear(1)
        if heard.isEmpty { break }
        for answer in heard {
          if answer.reply == "\(number).settle" {
            state = answer.content?["state"]
          } else {
            others.append(answer)
          }
        }
      }
      if state?["last_seq"]?.integer() == stream.store.lastSequence,
        state?["messages"]?.integer() == stream.store.count
      {
        break
      }
    }
    return others
  }

  private static func isUnanswered(_ lines: [Line], _ expected: [Heard], _ number: Int) -> Bool {
    guard let reply = lines.last?.reply else { return true }
    return expected.last?.reply != "\(number).\(reply)"
  }

  private func predict(_ lines: [Line], _ number: Int) -> [Heard] {
    for line in lines {
      model.receive(
        Publication(
          line.subject, reply: ReplyTo(subject: line.reply.map { "\(number).\($0)" } ?? ""),
          headers: line.headerBlock, payload: line.payload))
    }
    defer { model.outputs.removeAll() }
    return Self.ordered(
      model.outputs.map { output in
        let message = output.answer.message(model.rules)
        var status: Int?
        switch output.answer {
        case .noResponders: status = 503
        case .directFailed(let code, _): status = code
        default: break
        }
        return Heard(
          reply: output.to.subject, status: status, headers: message.headers,
          payload: message.payload)
      })
  }

  /// That nobody takes a subject is said before a stream answers what came before.
  private static func ordered(_ answers: [Heard]) -> [Heard] {
    answers.filter { $0.status == 503 } + answers.filter { $0.status != 503 }
  }

  private static func kind(_ heard: Heard) -> String {
    if let status = heard.status { return "status \(status)" }
    guard let content = heard.content else { return heard.payload.isEmpty ? "receipt" : "message" }
    if let code = content["error"]?["err_code"]?.integer(Int.self) { return "\(code)" }
    if content["duplicate"] != nil { return "duplicate" }
    if content["batch"] != nil { return "batch stored" }
    if content["stream"] != nil { return "stored" }
    let type = content["type"]?.stringValue ?? "?"
    return type.hasPrefix("io.") ? String(type.split(separator: ".").last ?? "?") : type
  }

  /// The server was killed and started again.
  func restart() {
    history.append(.restart)
    model.crash()
  }

  /// Compares what the streams hold.
  func finish() async throws {
    for (name, stream) in model.streams.sorted(by: { $0.key < $1.key }) {
      try await run(.request("STREAM.INFO.\(name)", ["subjects_filter": ">"]))
      for message in stream.store.messages {
        try await run(.request("STREAM.MSG.GET.\(name)", ["seq": .int(message.sequence)]))
      }
    }
    for name in model.streams.keys.sorted() { try await run(.request("STREAM.DELETE.\(name)")) }
  }
}
