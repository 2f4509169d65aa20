import BSON
import BridgeConfiguration
import JetStream
import Mapping
import MongoSource
import NATS
import Oplog

/// What became of a dead letter that was replayed.
public enum ReplayOutcome: Sendable, Equatable {
  /// Stored, under that sequence.
  case published(stream: String, sequence: UInt64, id: String)
  /// The stream had the message already.
  case duplicate(stream: String, id: String)
  /// The stream has the id for something else, and did not take the message; the letter stays.
  case idConflict(stream: String, id: String, detail: String)
  /// Today's rules make no message of it either, or it can't be read (`unreadable`); it stays.
  case invalid(code: String, detail: String)
  /// Nothing was sent: `dryRun`.
  case wouldPublish(subject: String, id: String)

  /// As reports spell it.
  public var name: String {
    switch self {
    case .published: "published"
    case .duplicate: "duplicate"
    case .idConflict: "id_conflict"
    case .invalid: "invalid"
    case .wouldPublish: "would_publish"
    }
  }
}

extension DeadLetterBox {
  /// Maps letters again, by the rules of today, and publishes what becomes of them, oldest first; each
  /// letter leaves the dead-letter stream once its message is stored, unless it is to be kept. The filter
  /// must not take other bridges' letters: their rules are not known here.
  ///
  /// A replayed message comes behind everything that was published since: whoever applies events in
  /// order must know that. It says so by the header `Tailrace-Replayed`, and has the id that it would
  /// have had.
  public func replay(
    _ filter: DeadLetterFilter, keep: Bool, dryRun: Bool,
    _ report: (DeadLetter, ReplayOutcome) -> Void
  ) async throws(BridgeError) -> Int {
    let source: String
    do {
      source =
        if let name = configuration.source.name { name } else {
          try await MongoAdmin.identify(configuration.mongoSourceOptions).setName
        }
    } catch {
      throw .unavailable("MongoDB: \(error)")
    }
    return try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      try await walk(jetStream, filter) { letter throws(BridgeError) in
        let outcome: ReplayOutcome
        let limit = jetStream.connection.info.maxPayload
        switch try await message(of: letter, source, maximumPayload: limit) {
        case .failure(let reason): outcome = .invalid(code: reason.code, detail: reason.detail)
        case .success(let message) where dryRun:
          outcome = .wouldPublish(subject: message.subject, id: message.id)
        case .success(let message): outcome = try await publish(message, letter, jetStream)
        }
        switch outcome {
        case .published, .duplicate: if !keep { _ = try await remove(letter, jetStream) }
        case .idConflict, .invalid, .wouldPublish: break
        }
        report(letter, outcome)
      }
    }
  }

  private struct Message {
    var subject: String
    var headers: NATSHeaders
    var body: [UInt8]
    var id: String
    var rule: String
    var stream: String
  }

  /// Why a letter makes no message.
  private struct Reason: Error {
    var code: String
    var detail: String
  }

  /// - Throws: what concerns all letters. What is wrong with one of them keeps no other from its replay.
  private func message(
    of letter: DeadLetter, _ source: String, maximumPayload: Int
  ) async throws(BridgeError) -> Result<Message, Reason> {
    let text: String
    do throws(BridgeError) {
      text = try await event(of: letter)
    } catch {
      switch error {
      case .positionLost, .halted:
        return .failure(Reason(code: "unreadable", detail: error.description))
      case .unavailable, .displaced, .configuration: throw error
      }
    }
    do {
      var recorded = try RecordedEvent(text, index: letter.position.index)
      recorded.isSnapshot = letter.isSnapshot
      recorded.image = letter.header("Tailrace-Image").flatMap { name in
        ImageKind.allCases.first { "\($0.name)" == name }
      }
      return try recorded.withEvent { event in
        do throws(MappingError) {
          return .success(try map(event, letter, source, maximumPayload: maximumPayload))
        } catch {
          return .failure(Reason(code: error.code.rawValue, detail: error.detail))
        }
      }
    } catch {
      return .failure(
        Reason(
          code: "unreadable",
          detail: "the letter's body is no change event as the bridge writes them: \(error)"))
    }
  }

  private func map(
    _ event: ChangeEvent, _ letter: DeadLetter, _ source: String, maximumPayload: Int
  ) throws(MappingError) -> Message {
    let rules = configuration.rules
    let maker = MessageMaker(configuration.ruleSet(sourceName: source))
    // The rule it was of, if that still takes it; else the first that does.
    var rule = maker.firstMatch(event)
    var candidate = rule
    while let index = candidate {
      if rules[index].name == letter.rule {
        rule = index
        break
      }
      candidate = maker.nextMatch(event, after: index)
    }
    guard let rule else { throw MappingError(.unmatched, "no rule takes this event") }
    if maker.skips(event, rule: rule) {
      throw MappingError(
        .unmatched,
        "rule \(rules[rule].name) makes no message of it: its include and exclude leave nothing of "
          + "this update (skip_empty_updates)")
    }
    let match = match(of: letter, event, rule, maker)
    try maker.write(
      event, rule: rule, match: match,
      limits: configuration.limits(rule: rule, maximumPayload: maximumPayload))
    var fields = NATSHeaders(
      HeaderLines.fields(String(decoding: maker.headers.bytes, as: UTF8.self)))
    fields.append(DeadLetter.replayed, String(letter.sequence))
    return Message(
      subject: String(decoding: maker.subject.bytes, as: UTF8.self), headers: fields,
      body: Array(maker.body.bytes), id: fields.values("Nats-Msg-Id").first ?? "",
      rule: fields.values("Tailrace-Rule").first ?? "",
      stream: configuration.streams[rules[rule].streamIndex].name)
  }

  /// A further match's positional id ends with the rule's name, and so may a document's own key in the
  /// id of a snapshot.
  private func match(
    of letter: DeadLetter, _ event: ChangeEvent, _ rule: Int, _ maker: MessageMaker
  ) -> Int {
    guard letter.id.hasSuffix(":\(configuration.rules[rule].name)") else { return 0 }
    return maker.identity(event, rule: rule, match: 0) == letter.id ? 0 : 1
  }

  private func publish(
    _ message: Message, _ letter: DeadLetter, _ jetStream: JetStreamClient
  ) async throws(BridgeError) -> ReplayOutcome {
    let limit = jetStream.connection.info.maxPayload
    var headers = message.headers
    headers.append("Nats-Expected-Stream", message.stream)
    do {
      let ack = try await jetStream.publish(
        message.subject, headers: headers, payload: message.body)
      return try await outcome(ack, message, letter, jetStream)
    } catch {
      guard message.body.count > limit || error.remedy == .rejectMessage else {
        throw .unavailable("\(error)")
      }
      return .invalid(code: "payload_too_large", detail: "\(error)")
    }
  }

  /// What the stream's leader holds where the ack says: the letter is not given up for less.
  private func outcome(
    _ ack: PublishAck, _ message: Message, _ letter: DeadLetter, _ jetStream: JetStreamClient
  ) async throws(JetStreamError) -> ReplayOutcome {
    guard ack.sequence > 0 else {
      throw JetStreamError(
        code: 0, operation: "publish to \(message.subject)",
        message: "an ack without a sequence: not stored yet; try again", remedy: .backOff)
    }
    let stored = try await jetStream.message(in: ack.stream, at: ack.sequence)
    var last: UInt64 = 0
    if stored == nil { last = try await jetStream.stream(ack.stream)?.lastSequence ?? 0 }
    let proof = ReplayProof.judge(
      stored.map { EventIdentity.Message($0) }, lastSequence: last,
      ack: ReplayProof.Ack(
        stream: ack.stream, sequence: ack.sequence, isDuplicate: ack.isDuplicate),
      id: message.id, position: letter.position.description, rule: message.rule)
    switch proof {
    case .isTheMessage, .isProducers, .wasStored:
      return ack.isDuplicate
        ? .duplicate(stream: ack.stream, id: message.id)
        : .published(stream: ack.stream, sequence: ack.sequence, id: message.id)
    case .isNot(let why): return .idConflict(stream: ack.stream, id: message.id, detail: why)
    }
  }
}
