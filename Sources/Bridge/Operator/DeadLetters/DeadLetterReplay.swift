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
  /// The stream had the id already.
  case duplicate(stream: String, id: String)
  /// Today's rules make no message of it either; it stays.
  case invalid(code: String, detail: String)
  /// Nothing was sent: `dryRun`.
  case wouldPublish(subject: String, id: String)

  /// As reports spell it.
  public var name: String {
    switch self {
    case .published: "published"
    case .duplicate: "duplicate"
    case .invalid: "invalid"
    case .wouldPublish: "would_publish"
    }
  }
}

extension DeadLetterBox {
  /// Maps letters again, by the rules of today, and publishes what becomes of them, oldest first; each
  /// letter leaves the dead-letter stream once its message is stored, unless it is to be kept.
  ///
  /// A replayed message comes behind everything that was published since: whoever applies events in
  /// order must know that. It says so by the header `Tailrace-Replayed`, and has the id that it would
  /// have had.
  public func replay(
    _ filter: DeadLetterFilter, keep: Bool, dryRun: Bool,
    _ report: (DeadLetter, ReplayOutcome) -> Void
  ) async throws(BridgeError) {
    let source: String
    do {
      source =
        if let name = configuration.source.name { name } else {
          try await MongoAdmin.identify(configuration.mongoSourceOptions).setName
        }
    } catch {
      throw .unavailable("MongoDB: \(error)")
    }
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      try await walk(jetStream, filter) { letter throws(BridgeError) in
        let outcome: ReplayOutcome
        switch try await message(of: letter, source) {
        case .failure(let error):
          outcome = .invalid(code: error.code.rawValue, detail: error.detail)
        case .success(let message) where dryRun:
          outcome = .wouldPublish(subject: message.subject, id: message.id)
        case .success(let message): outcome = try await publish(message, letter, jetStream)
        }
        switch outcome {
        case .published, .duplicate: if !keep { _ = try await remove(letter, jetStream) }
        case .invalid, .wouldPublish: break
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
    var stream: String
  }

  private func message(
    of letter: DeadLetter, _ source: String
  ) async throws(BridgeError) -> Result<Message, MappingError> {
    let text = try await event(of: letter)
    do {
      var recorded = try RecordedEvent(text, index: letter.position.index)
      recorded.isSnapshot = letter.isSnapshot
      recorded.image = letter.header("Tailrace-Image").flatMap { name in
        ImageKind.allCases.first { "\($0.name)" == name }
      }
      return try recorded.withEvent { event in
        do throws(MappingError) {
          return .success(try map(event, letter, source))
        } catch {
          return .failure(error)
        }
      }
    } catch {
      throw .halted("dead letter \(letter.sequence) can't be read: \(error)")
    }
  }

  private func map(
    _ event: ChangeEvent, _ letter: DeadLetter, _ source: String
  ) throws(MappingError) -> Message {
    let rules = configuration.rules
    var mapper = configuration.mapper(sourceName: source)
    // The rule it was of, if that still takes it; else the first that does.
    var rule = mapper.firstMatch(event)
    var candidate = rule
    while let index = candidate {
      if rules[index].name == letter.rule {
        rule = index
        break
      }
      candidate = mapper.nextMatch(event, after: index)
    }
    guard let rule else { throw MappingError(.unmatched, "no rule takes this event") }
    // A further match's positional id ends with the rule's name.
    let match = letter.id.hasSuffix(":\(rules[rule].name)") ? 1 : 0
    var subject = ByteWriter(capacity: 128)
    var headers = ByteWriter(capacity: 512)
    var body = ByteWriter(capacity: 1024)
    try mapper.writeSubject(rule: rule, event: event, into: &subject)
    try mapper.writeHeaders(rule: rule, event: event, match: match, into: &headers)
    try mapper.writeBody(rule: rule, event: event, match: match, into: &body)
    try SchemaJudge(configuration).check(rule: rule, event: event, body: body.bytes)
    var fields = NATSHeaders(
      HeaderLines.fields(String(decoding: headers.bytes, as: UTF8.self)))
    fields.append(DeadLetter.replayed, String(letter.sequence))
    return Message(
      subject: String(decoding: subject.bytes, as: UTF8.self), headers: fields,
      body: Array(body.bytes), id: fields.values("Nats-Msg-Id").first ?? "",
      stream: configuration.streams[rules[rule].streamIndex].name)
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
      return ack.isDuplicate
        ? .duplicate(stream: ack.stream, id: message.id)
        : .published(stream: ack.stream, sequence: ack.sequence, id: message.id)
    } catch {
      guard message.body.count > limit || error.remedy == .rejectMessage else {
        throw .unavailable("\(error)")
      }
      return .invalid(code: "payload_too_large", detail: "\(error)")
    }
  }
}
