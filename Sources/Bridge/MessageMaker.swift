import BSON
import BridgeConfiguration
import JSON
import JetStream
import Mapping
import Oplog

/// Makes messages and dead letters of events where nothing is published, or not by a lane: dry run,
/// verification, `decode`, samples, replay. In the very steps of `Pipeline`, so that all of them find
/// the same message, or the same reason why there is none.
///
/// Owned by one event loop, or one command.
final class MessageMaker {
  private(set) var mapper: Mapper
  private let judge: SchemaJudge
  private let deadLetterSubject: DeadLetterSubject

  // What was written last. Header lines have their ends, and neither the block's first nor last line.
  private(set) var subject = ByteWriter(capacity: 256)
  private(set) var headers = ByteWriter(capacity: 1024)
  private(set) var body = ByteWriter(capacity: 4096)

  /// - Parameter qualifiesLetterIDs: whether dead letters get ids of their own; nil: as when they are
  ///   published.
  init(
    _ rules: RuleSet, qualifiesLetterIDs: Bool? = nil
  ) {
    mapper = rules.mapper
    if let qualifiesLetterIDs { mapper.qualifiesLetterIDs = qualifiesLetterIDs }
    judge = SchemaJudge(rules)
    deadLetterSubject = rules.deadLetterSubject
  }

  func firstMatch(_ event: ChangeEvent) -> Int? { mapper.firstMatch(event) }

  func nextMatch(_ event: ChangeEvent, after rule: Int) -> Int? {
    mapper.nextMatch(event, after: rule)
  }

  /// Documents that the event's rules want and that could not be read as they were then: what was made of
  /// it at another time may be something else.
  func lackedImages(_ event: ChangeEvent) -> Mapper.WantedImages {
    guard mapper.wantsImages else { return [] }
    var lacked = mapper.wantedImages(event)
    if event.image == .post { lacked.remove(.after) }
    if event.fullDocumentBeforeChange != nil { lacked.remove(.before) }
    return lacked
  }

  /// Rules that may take an event that lacks those.
  func possibleMatches(_ event: ChangeEvent, lacking: Mapper.WantedImages) -> [PossibleMatch] {
    mapper.possibleMatches(event, lacksDocument: lacking.contains(.after))
  }

  /// Whether the rule makes no message of the event: an update of which its filter leaves nothing. To be
  /// asked before `write`.
  func skips(_ event: ChangeEvent, rule: Int) -> Bool { mapper.skips(event, rule: rule) }

  /// Writes the message that the rule makes of the event.
  func write(
    _ event: ChangeEvent, rule: Int, match: Int, limits: MessageLimits
  ) throws(MappingError) {
    clear()
    try mapper.writeSubject(rule: rule, event: event, into: &subject)
    try mapper.writeHeaders(rule: rule, event: event, match: match, into: &headers)
    try mapper.writeBody(
      rule: rule, event: event, match: match, room: limits.body(headers: headers.count),
      into: &body)
    try limits.check(headers: headers.count, body: body.count)
    try judge.check(rule: rule, event: event, body: body.bytes)
  }

  /// Subject and headers alone.
  func writeHead(_ event: ChangeEvent, rule: Int, match: Int) throws(MappingError) {
    clear()
    try mapper.writeSubject(rule: rule, event: event, into: &subject)
    try mapper.writeHeaders(rule: rule, event: event, match: match, into: &headers)
  }

  /// Writes the event's dead letter. `rule`: nil where none took it.
  func writeDeadLetter(
    _ event: ChangeEvent, rule: Int?, match: Int, error: MappingError, limits: MessageLimits
  ) {
    clear()
    mapper.writeDeadLetterSubject(
      deadLetterSubject, rule: rule, event: event, error: error, into: &subject)
    mapper.writeDeadLetterHeaders(
      rule: rule, event: event, match: match, error: error, limit: limits.deadLetterHeaders,
      into: &headers)
    mapper.writeDeadLetterBody(
      event: event, limit: limits.deadLetterBody(headers: headers.count), into: &body)
  }

  /// The id of the event's message, or of its dead letter.
  func identity(_ event: ChangeEvent, rule: Int, match: Int) -> String {
    var id = ByteWriter(capacity: 256)
    mapper.writeIdentity(rule: rule, event: event, match: match, into: &id)
    return String(decoding: id.bytes, as: UTF8.self)
  }

  /// What is wrong with a body by the rule's schema; nil where nothing is.
  func violation(rule: Int, body: [UInt8]) -> String? { judge.violation(rule: rule, body: body) }

  private func clear() {
    subject.removeAll()
    headers.removeAll()
    body.removeAll()
    body.shrink(to: 8 << 20)
  }
}

extension BridgeConfiguration {
  /// What the rule's stream, or that of dead letters (nil), would take by this configuration, without
  /// asking a server.
  ///
  /// - Parameter maximumPayload: the server's `max_payload`.
  func limits(rule: Int?, maximumPayload: Int) -> MessageLimits {
    let stream =
      rule.map { streams[rules[$0].streamIndex] }
      ?? streams.first { $0.name == deadLetter.stream }
    return MessageLimits(
      maximumPayload: maximumPayload, maximumMessage: stream?.maximumMessage,
      maximumBytes: stream?.maximumBytes)
  }
}

extension StreamSpec {
  /// What the stream may hold altogether; nil where that has no limit.
  var maximumBytes: Int? { settings.streamLimit("max_bytes") }

  /// The largest message by the stream's own settings; nil where they set none.
  var maximumMessage: Int? { settings.streamLimit("max_msg_size") }
}
