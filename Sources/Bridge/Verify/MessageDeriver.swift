import BSON
import BridgeConfiguration
import Mapping
import Oplog

/// A message that a stream should hold. Its bytes are valid only during the call that hands it out.
struct DerivedMessage {
  /// Index into the verification's streams.
  var stream: Int
  /// Nil: the dead letter of an event that no rule takes.
  var rule: Int?
  var position: EventPosition
  var subject: UnsafeRawBufferPointer
  /// Lines, each with its end.
  var headers: UnsafeRawBufferPointer
  var body: UnsafeRawBufferPointer
  /// Others may publish it under the same id.
  var isShared: Bool
}

/// Makes of changes the messages that the bridge has to make of them, dead letters included: the same
/// mapping and schemas, none of the publishing. Owned by one event loop.
final class MessageDeriver {
  private let configuration: BridgeConfiguration
  private var mapper: Mapper
  private let judge: SchemaJudge
  private let isShared: [Bool]
  private let streamOfRule: [Int]
  private let deadLetterStream: Int
  /// Largest message of each stream, headers and body.
  private let limits: [Int]
  private var subject = ByteWriter(capacity: 256)
  private var headers = ByteWriter(capacity: 1024)
  private var body = ByteWriter(capacity: 4096)

  private(set) var events: UInt64 = 0
  private(set) var unmatched: UInt64 = 0
  private(set) var dropped: UInt64 = 0

  /// - Parameter limits: by stream, in the order of the configuration, dead letters' last unless it is
  ///   one of those.
  init(_ configuration: BridgeConfiguration, sourceName: String, limits: [Int]) {
    self.configuration = configuration
    self.limits = limits
    mapper = configuration.mapper(sourceName: sourceName)
    judge = SchemaJudge(configuration)
    streamOfRule = configuration.rules.map(\.streamIndex)
    deadLetterStream =
      configuration.streams.firstIndex { $0.name == configuration.deadLetter.stream }
      ?? configuration.streams.count
    isShared = configuration.rules.map { rule in
      configuration.streams[rule.streamIndex].ownership == .shared
        && (rule.id != .positional || rule.outbox != nil)
    }
  }

  func derive(_ event: ChangeEvent, _ emit: (DerivedMessage) -> Void) {
    events &+= 1
    var rule = mapper.firstMatch(event)
    guard rule != nil else {
      unmatched &+= 1
      if configuration.unmatched == .deadLetter {
        let error = MappingError(.unmatched, "no rule takes this event")
        emitDeadLetter(event, nil, 0, error, emit)
      }
      return
    }
    var match = 0
    while let index = rule {
      do throws(MappingError) {
        try write(event, index, match)
        emit(
          DerivedMessage(
            stream: streamOfRule[index], rule: index, position: event.position,
            subject: subject.bytes, headers: headers.bytes, body: body.bytes,
            isShared: isShared[index]))
      } catch {
        if configuration.rules[index].onInvalid == .deadLetter {
          emitDeadLetter(event, index, match, error, emit)
        } else {
          dropped &+= 1
        }
      }
      match += 1
      rule = mapper.nextMatch(event, after: index)
    }
  }

  private func write(_ event: ChangeEvent, _ rule: Int, _ match: Int) throws(MappingError) {
    clear()
    try mapper.writeSubject(rule: rule, event: event, into: &subject)
    try mapper.writeHeaders(rule: rule, event: event, match: match, into: &headers)
    try mapper.writeBody(rule: rule, event: event, match: match, into: &body)
    try judge.check(rule: rule, event: event, body: body.bytes)
    try MessageLimit.check(
      MessageLimit.size(headers: headers.count, body: body.count),
      limit: limits[streamOfRule[rule]])
  }

  private func emitDeadLetter(
    _ event: ChangeEvent, _ rule: Int?, _ match: Int, _ error: MappingError,
    _ emit: (DerivedMessage) -> Void
  ) {
    clear()
    mapper.writeDeadLetterSubject(
      configuration.deadLetter.subject, rule: rule, event: event, error: error, into: &subject)
    mapper.writeDeadLetterHeaders(
      rule: rule, event: event, match: match, error: error, into: &headers)
    mapper.writeDeadLetterBody(
      event: event,
      limit: MessageLimit.deadLetterBody(headers: headers.count, limit: limits[deadLetterStream]),
      into: &body)
    emit(
      DerivedMessage(
        stream: deadLetterStream, rule: rule, position: event.position, subject: subject.bytes,
        headers: headers.bytes, body: body.bytes, isShared: false))
  }

  private func clear() {
    subject.removeAll()
    headers.removeAll()
    body.removeAll()
  }

  /// What is wrong with a body by the rule's schema; nil where nothing is.
  func violation(rule: Int, body: [UInt8]) -> String? { judge.violation(rule: rule, body: body) }
}
