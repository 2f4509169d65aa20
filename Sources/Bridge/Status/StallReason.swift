import Oplog

/// Why the bridge makes no progress, or what it waits for, as reported by `/healthz`. Pure.
struct StallReason {
  private let input: HealthInputs

  init(_ input: HealthInputs) { self.input = input }

  /// For how long the bridge has been held up, for any reason.
  var seconds: Double {
    max(
      input.stillFor ?? 0, input.closedFor ?? 0, input.mongoLostFor ?? 0, input.lookAge ?? 0)
  }

  var description: String {
    let what: String
    if let age = input.lookAge, age > HealthReport.stallAfter {
      what = "the event loop has been busy for \(Int(age)) s"
    } else if let still = input.stillFor, still > HealthReport.stallAfter {
      let event = input.oldest.map { "event \($0)" } ?? "the oldest unsettled entry"
      what = "\(event) has not moved for \(Int(still)) s"
    } else if let lost = input.mongoLostFor, lost > HealthReport.stallAfter {
      what = "MongoDB has not answered for \(Int(lost)) s"
    } else {
      what = "nothing could be published for \(Int(seconds)) s"
    }
    let why = causes.joined(separator: "; ")
    return why.isEmpty ? what : "\(what): \(why)"
  }

  /// The refusals, as the servers word them; then what the bridge waits for.
  var causes: [String] {
    var why = refusals
    if !input.mongoReachable { why.append("MongoDB can't be reached: \(input.mongoDetail)") }
    if !input.natsConnected, !input.refusals.contains(where: { $0.scope == "NATS" }) {
      why.append("NATS is not connected: \(input.natsDetail)")
    }
    why += waiting
    if input.waitsForDocuments { why.append("documents are being fetched from MongoDB") }
    if let majority = input.majority, input.read.map({ $0 < majority }) ?? true {
      let read = input.read.map(\.description) ?? "nothing"
      why.append("the oplog is at \(majority), processed up to \(read), \(input.sourceDetail)")
    }
    if !input.publishing, !input.pipelineDetail.isEmpty { why.append(input.pipelineDetail) }
    return why
  }

  var refusals: [String] {
    input.refusals.map { refusal in
      let times = refusal.count > 1 ? " (\(refusal.count) times in \(Int(refusal.age)) s)" : ""
      return "\(refusal.scope): \(refusal.reason)\(times)"
    }
  }

  /// Messages without an ack, by stream.
  var waiting: [String] {
    input.waiting.filter { $0.messages > 0 }.map { lane in
      "stream \(lane.stream): \(lane.messages) messages wait for their ack"
    }
  }
}
