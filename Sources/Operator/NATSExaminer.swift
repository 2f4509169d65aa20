import Bridge
import BridgeConfiguration
import JSON
import JetStream
import MongoSource
import NATS

/// The NATS half of `doctor`: tries every right the bridge needs, and looks at what would refuse its
/// messages. Stores nothing: requests that would change something are sent so that they can't be
/// carried out, and messages assert a sequence that no stream has come to.
struct NATSExaminer: Sendable {
  let configuration: BridgeConfiguration
  let connection: NATSConnection
  let rights: NATSRights

  init(_ configuration: BridgeConfiguration, _ connection: NATSConnection) {
    self.configuration = configuration
    self.connection = connection
    rights = NATSRights(configuration)
  }

  private typealias Answer = ServerProbe.Answer

  /// - Parameter plans: what `run` would make of the streams; nil where one can't serve.
  func examine(_ plans: inout [StreamPlan]?) async -> [Diagnosis] {
    var found: [Diagnosis] = []
    let first = rights.api.first?.probe ?? "$JS.API.INFO"
    switch await ask(first) {
    case .inboxRefused(let words):
      return [
        missing(
          "nats.permissions.inbox", ["subscribe to \(rights.inbox), for every answer and ack"],
          words)
      ]
    case .nobody:
      return [
        Diagnosis(
          "nats.jetstream", .fail, "nobody answers on \(first)",
          remedy:
            "# enable JetStream on the servers and for the account, and see that it has a leader")
      ]
    case .silence(let why):
      return [
        Diagnosis("nats.jetstream", .fail, why, remedy: "# see that JetStream has a leader")
      ]
    case .json, .refused: break
    }
    found.append(Diagnosis("nats.permissions.inbox", .ok, "answers arrive below \(rights.inbox)"))
    var streams: [String: StreamInfo] = [:]
    var absent: Set<String> = []
    found += await tryRequests(&streams, &absent)
    found += await tryMessages(streams)
    found.append(await tryState())
    found.append(await tryLeadership())
    var start = StartExaminer(self)
    await start.examine()
    plans = start.allPlans
    found.append(await account(missing: absent.count, start.plans))
    found += streams.sorted { $0.key < $1.key }.compactMap { refusesMessages($0.key, $0.value) }
    // Of one stream, the cause is said first: a stream that can't serve refuses messages, too.
    for diagnosis in start.found {
      found.removeAll { $0.id == diagnosis.id && $0.verdict == .fail }
      found.append(diagnosis)
    }
    if found.allSatisfy({ $0.verdict != .fail }) { found += start.unseen }
    return found
  }

  // MARK: - Rights

  /// - Parameter absent: streams that the server says there are not. Others it may not be asked about.
  private func tryRequests(
    _ streams: inout [String: StreamInfo], _ absent: inout Set<String>
  ) async -> [Diagnosis] {
    var lacking: [String] = []
    var later: [String] = []
    var words = ""
    var laterWords = ""
    var optional: [String] = []
    var consumers: Set<String> = []
    for right in rights.api {
      // No JSON: refused before anything is done, by whoever would do it.
      let isQuestion = right.subject.contains(".INFO.") || right.subject.contains(".GET.")
      let answer = await ask(
        right.probe,
        payload: right.subject.contains(".GET.") ? #"{"seq":1}"# : isQuestion ? "" : "{")
      switch answer {
      case .json(let json):
        if let name = Self.name(right, "$JS.API.STREAM.INFO.") {
          if json["config"] != nil {
            streams[name] = StreamInfo(json)
          } else if json["error"]?["err_code"]?.integer(Int.self) == JetStreamCode.streamNotFound {
            absent.insert(name)
          }
        }
        if let name = Self.name(right, "$JS.API.CONSUMER.INFO."), json["config"] != nil {
          consumers.insert(name)
        }
      case .nobody, .silence: break
      case .refused(let why), .inboxRefused(let why):
        let what = "\(right.subject), to \(right.purpose)"
        if right.need == .optional {
          optional.append(what)
        } else if isNeeded(right, streams, consumers) {
          lacking.append(what)
          words = why
        } else {
          later.append(what)
          laterWords = why
        }
      }
    }
    if !lacking.isEmpty { return [missing("nats.permissions.api", lacking, words)] }
    if !later.isEmpty {
      var diagnosis = missing("nats.permissions.api", later, laterWords)
      diagnosis.verdict = .warn
      diagnosis.evidence += "; not needed as things are"
      return [diagnosis]
    }
    let allowed = "\(rights.api.count - optional.count) requests are allowed"
    let rest =
      optional.isEmpty ? "" : "; not allowed, and optional: \(optional.joined(separator: "; "))"
    return [Diagnosis("nats.permissions.api", .ok, allowed + rest)]
  }

  private static func name(_ right: NATSRights.Right, _ prefix: String) -> String? {
    right.subject.hasPrefix(prefix) ? String(right.subject.dropFirst(prefix.count)) : nil
  }

  private func isNeeded(
    _ right: NATSRights.Right, _ streams: [String: StreamInfo], _ consumers: Set<String>
  ) -> Bool {
    switch right.need {
    case .always: return true
    case .optional: return false
    case .creating(let name): return streams[name] == nil && !consumers.contains(name)
    case .updating(let name):
      guard let info = streams[name],
        let spec = configuration.streams.first(where: { $0.name == name })
      else { return false }
      return !info.config.merging(spec.settings).changed.isEmpty
        || !Set(info.subjects).isSuperset(of: spec.subjects)
    }
  }

  private func tryMessages(_ streams: [String: StreamInfo]) async -> [Diagnosis] {
    var found: [Diagnosis] = []
    var lacking: [String] = []
    var words = ""
    var allowed = 0
    for (stream, rights) in rights.messages {
      for right in rights {
        let answer = await ask(
          right.probe,
          headers: NATSHeaders([
            "Nats-Expected-Stream": stream, "Nats-Expected-Last-Sequence": Self.never,
            "Tailrace-Doctor": "1",
          ]))
        switch answer {
        case .refused(let why), .inboxRefused(let why):
          lacking.append("\(right.subject), to \(right.purpose) (stream \(stream))")
          words = why
        case .json(let json):
          allowed += 1
          if streams[stream] == nil {
            found += captured(stream, right.subject, json)
          } else if let refusal = json["error"],
            refusal["err_code"]?.integer(Int.self) != JetStreamCode.wrongLastSequence
          {
            let why = refusal["description"]?.stringValue ?? refusal.text()
            found.append(
              Diagnosis(
                "nats.stream.\(stream)", .fail, "a message for \(right.probe) is refused: \(why)",
                remedy: "nats stream info \(stream)"))
          }
        case .nobody, .silence: allowed += 1
        }
      }
    }
    if lacking.isEmpty {
      found.append(Diagnosis("nats.permissions.publish", .ok, "\(allowed) subjects are allowed"))
    } else {
      found.append(missing("nats.permissions.publish", lacking, words))
    }
    return found
  }

  /// Another stream takes the subject of one that is to be made. (One that is there, and that the user may
  /// not see, answers by its own name.)
  private func captured(_ stream: String, _ subject: String, _ answer: JSONValue) -> [Diagnosis] {
    let isOthers =
      answer["stream"]?.stringValue.map { $0 != stream } ?? false
      || answer["error"]?["err_code"]?.integer(Int.self) == JetStreamCode.otherStream
    guard isOthers else { return [] }
    let overlap = SubjectOverlap.refusal([], "STREAM.CREATE.\(stream)")
    return StartRefusal(overlap).map { refusal in
      var diagnosis = Diagnosis(refusal)
      diagnosis.evidence += ": another stream takes \(subject)"
      return [diagnosis]
    } ?? []
  }

  /// No stream comes to this sequence.
  private static let never = "9007199254740991"

  private func tryState() async -> Diagnosis {
    let answer = await ask(
      rights.state.probe,
      headers: NATSHeaders([
        "Nats-Expected-Last-Subject-Sequence": Self.never, "Tailrace-Doctor": "1",
      ]))
    switch answer {
    case .refused(let why), .inboxRefused(let why):
      return missing(
        "nats.permissions.state", ["\(rights.state.subject), to \(rights.state.purpose)"], why)
    case .json, .nobody, .silence:
      return Diagnosis("nats.permissions.state", .ok, "\(rights.state.probe) may be written")
    }
  }

  private func tryLeadership() async -> Diagnosis {
    var lacking: [String] = []
    for right in rights.leadership {
      let answer = await ask(
        right.probe,
        headers: NATSHeaders([
          "Nats-Expected-Last-Subject-Sequence": Self.never, "Tailrace-Doctor": "1",
        ]))
      if case .refused = answer { lacking.append("\(right.subject), to \(right.purpose)") }
    }
    let rest =
      lacking.isEmpty ? "" : "; not allowed, and optional: \(lacking.joined(separator: "; "))"
    return Diagnosis(
      "nats.permissions.leadership", .ok,
      "\(rights.leadership.count - lacking.count) subjects of several instances are allowed" + rest)
  }

  private func missing(_ id: String, _ what: [String], _ words: String) -> Diagnosis {
    Diagnosis(
      id, .fail, "not allowed: \(what.joined(separator: "; ")); \(words)",
      remedy: "# in nats-server's configuration, for the bridge's user:\n\(rights.block)")
  }

  private func ask(
    _ subject: String, headers: NATSHeaders? = nil, payload: String = ""
  ) async -> Answer {
    await ServerProbe(connection: connection).ask(subject, headers: headers, payload: payload)
  }

  // MARK: - What would refuse

  /// Limits of the account, where it may be asked.
  private func account(missing: Int, _ plans: [StreamPlan]) async -> Diagnosis {
    let id = "nats.jetstream"
    switch await ask("$JS.API.INFO") {
    case .json(let json):
      if let refusal = json["error"] {
        return Diagnosis(
          id, .fail, refusal["description"]?.stringValue ?? refusal.text(),
          remedy: "# enable JetStream for the account")
      }
      return AccountLimits(
        json, missing: missing, reserving: plans.map(\.newBytes).reduce(0, +)
      ).diagnosis(id)
    case .refused, .inboxRefused:
      return Diagnosis(id, .ok, "answers; the account's limits may not be seen ($JS.API.INFO)")
    case .nobody: return Diagnosis(id, .ok, "answers; nobody tells the account's limits")
    case .silence(let why):
      return Diagnosis(id, .fail, why, remedy: "# see that JetStream has a leader")
    }
  }

  /// States in which a stream takes nothing.
  private func refusesMessages(_ name: String, _ info: StreamInfo) -> Diagnosis? {
    func limit(_ key: String) -> UInt64? {
      info.config[key]?.integer(Int64.self).flatMap { $0 > 0 ? UInt64($0) : nil }
    }
    let bytes = info.raw["state"]?["bytes"]?.integer(UInt64.self) ?? 0
    var why: [String] = []
    if info.config["discard"]?.stringValue == "new" {
      if let most = limit("max_msgs"), info.messages >= most {
        why.append("it is full and discards new messages: \(info.messages) of max_msgs \(most)")
      }
      if let most = limit("max_bytes"), bytes >= most / 100 * 99 {
        why.append("it is full and discards new messages: \(bytes) of max_bytes \(most)")
      }
    }
    if info.raw["cluster"] != nil, info.replicas > 1, info.leader == nil {
      why.append("it has no leader")
    }
    guard !why.isEmpty else { return nil }
    return Diagnosis(
      "nats.stream.\(name)", .fail, why.joined(separator: "; "),
      remedy: "nats stream info \(name)")
  }
}

extension AccountLimits {
  fileprivate func diagnosis(_ id: String) -> Diagnosis {
    if let (why, remedy) = shortage { return Diagnosis(id, .fail, why, remedy: remedy) }
    if let most = limit("max_storage"), most > 0, storage >= most / 10 * 9 {
      return Diagnosis(
        id, storage >= most ? .fail : .warn, "\(seen): nearly nothing is left",
        remedy: "# raise the account's max_file, or free space")
    }
    return Diagnosis(id, .ok, seen)
  }
}
