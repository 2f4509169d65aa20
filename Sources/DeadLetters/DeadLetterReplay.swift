import BSON
public import Bridge
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
  /// Today's rules make no message of it either, or the letter or its body can't be read (`unreadable`); it
  /// stays.
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
  /// Maps letters again, by the rules of today, and publishes the resulting messages, oldest first; each
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
      throw .unavailable(MongoError.words(of: error))
    }
    return try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      try await walk(jetStream, filter) { letter throws(BridgeError) in
        let outcome: ReplayOutcome
        let limit = jetStream.connection.info.maxPayload
        switch try await message(of: letter, source, maximumPayload: limit) {
        case .failure(let reason): outcome = .invalid(code: reason.code, detail: reason.detail)
        case .success(let message) where dryRun:
          outcome = .wouldPublish(subject: message.subject, id: message.id)
        case .success(let message):
          outcome = try await publish(message, letter, limit, jetStream)
        }
        switch outcome {
        case .published, .duplicate: if !keep { _ = try await remove(letter, jetStream) }
        case .idConflict, .invalid, .wouldPublish: break
        }
        report(letter, outcome)
      }
    }
  }

  /// Why a letter makes no message.
  private struct Reason: Error {
    var code: String
    var detail: String
  }

  /// - Throws: what concerns all letters. What is wrong with one of them keeps no other from its replay.
  private func message(
    of letter: DeadLetter, _ source: String, maximumPayload: Int
  ) async throws(BridgeError) -> Result<ReplayedMessage, Reason> {
    guard let position = letter.position, letter.flaws.isEmpty else {
      return .failure(Reason(code: "unreadable", detail: letter.unreadable ?? ""))
    }
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
      var recorded = try RecordedEvent(text, index: position.index)
      recorded.isSnapshot = letter.isSnapshot
      recorded.image = letter.image
      var maker = ReplayMaker(configuration, sourceName: source, maximumPayload: maximumPayload)
      return try recorded.withEvent { event in
        do throws(MappingError) {
          return .success(try maker.message(of: event, replacing: letter))
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

  private func publish(
    _ message: ReplayedMessage, _ letter: DeadLetter, _ limit: Int, _ jetStream: JetStreamClient
  ) async throws(BridgeError) -> ReplayOutcome {
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
    _ ack: PublishAck, _ message: ReplayedMessage, _ letter: DeadLetter,
    _ jetStream: JetStreamClient
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
      id: message.id, position: letter.position?.description ?? "", rule: message.rule,
      letter: (letter.error, message.body))
    switch proof {
    case .isTheMessage, .isProducers, .wasStored:
      return ack.isDuplicate
        ? .duplicate(stream: ack.stream, id: message.id)
        : .published(stream: ack.stream, sequence: ack.sequence, id: message.id)
    case .isNot(let why): return .idConflict(stream: ack.stream, id: message.id, detail: why)
    }
  }
}
