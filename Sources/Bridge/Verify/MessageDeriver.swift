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
  /// The rule's number among those that take the event.
  var match: Int
  /// Of a dead letter: why.
  var error: MappingError?
}

/// Makes of changes the messages that the bridge has to make of them, dead letters included: the same
/// mapping and schemas, none of the publishing. Owned by one event loop.
final class MessageDeriver {
  private let configuration: BridgeConfiguration
  private let maker: MessageMaker
  private let isShared: [Bool]
  private let streamOfRule: [Int]
  let deadLetterStream: Int
  private let limits: [MessageLimits]

  private(set) lazy var alternatives = MessageAlternatives(
    configuration, sourceName: sourceName, limits: limits)
  private let sourceName: String

  private(set) var events: UInt64 = 0
  private(set) var unmatched: UInt64 = 0
  private(set) var dropped: UInt64 = 0

  /// - Parameter limits: by stream, in the order of the configuration, dead letters' last unless it is
  ///   one of those.
  init(_ configuration: BridgeConfiguration, sourceName: String, limits: [MessageLimits]) {
    self.configuration = configuration
    self.limits = limits
    self.sourceName = sourceName
    // Compared by the ids of the messages that they would have been.
    maker = MessageMaker(
      configuration.ruleSet(sourceName: sourceName), qualifiesLetterIDs: false)
    streamOfRule = configuration.rules.map(\.streamIndex)
    deadLetterStream = configuration.indexOfDeadLetterStream
    isShared = configuration.rules.map { rule in
      configuration.streams[rule.streamIndex].ownership == .shared
        && (rule.id != .positional || rule.outbox != nil)
    }
  }

  func derive(_ event: ChangeEvent, _ emit: (DerivedMessage) -> Void) {
    events &+= 1
    var rule = maker.firstMatch(event)
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
      if maker.skips(event, rule: index) {
        match += 1
        rule = maker.nextMatch(event, after: index)
        continue
      }
      do throws(MappingError) {
        try maker.write(
          event, rule: index, match: match, limits: limits[streamOfRule[index]])
        emit(
          DerivedMessage(
            stream: streamOfRule[index], rule: index, position: event.position,
            subject: maker.subject.bytes, headers: maker.headers.bytes,
            body: maker.body.bytes, isShared: isShared[index], match: match))
      } catch {
        if configuration.rules[index].onInvalid == .deadLetter {
          emitDeadLetter(event, index, match, error, emit)
        } else {
          dropped &+= 1
        }
      }
      match += 1
      rule = maker.nextMatch(event, after: index)
    }
  }

  /// What of the event's messages can't be told any more; nil where everything can.
  func doubt(_ event: ChangeEvent) -> ImageDoubt? { ImageDoubt(event, configuration, maker) }

  /// Streams that may hold something of the rule: its own, and that of dead letters.
  func streams(of rule: Int?) -> [Int] {
    guard let rule, streamOfRule[rule] != deadLetterStream else { return [deadLetterStream] }
    return [streamOfRule[rule], deadLetterStream]
  }

  /// What the rule may have made of an event in doubt, as far as it is not of documents. May be asked
  /// while a derived message is handed out.
  func open(
    _ event: ChangeEvent, rule: Int?, match: Int, _ doubt: ImageDoubt, on stream: Int
  ) -> OpenExpectation {
    var open = OpenExpectation(lacked: doubt.lacked)
    let isOpen = doubt.hasOpenNumber(rule)
    let match = isOpen ? 0 : match
    if isOpen, let rule { open.otherID = alternatives.identity(event, rule: rule, match: 1) }
    if let rule, streamOfRule[rule] == stream {
      open.message = alternatives.message(event, rule: rule, match: match, lacking: doubt.lacked)
    }
    if stream == deadLetterStream {
      open.letter = alternatives.letter(event, rule: rule, match: match, lacking: doubt.lacked)
    }
    return open
  }

  private func emitDeadLetter(
    _ event: ChangeEvent, _ rule: Int?, _ match: Int, _ error: MappingError,
    _ emit: (DerivedMessage) -> Void
  ) {
    maker.writeDeadLetter(
      event, rule: rule, match: match, error: error, limits: limits[deadLetterStream])
    emit(
      DerivedMessage(
        stream: deadLetterStream, rule: rule, position: event.position,
        subject: maker.subject.bytes, headers: maker.headers.bytes, body: maker.body.bytes,
        isShared: false, match: match, error: error))
  }

  /// The rule's name if it drops events whose ids are other events' (positional ones never are).
  func nameOfRuleDroppingConflicts(_ rule: Int) -> String? {
    let rule = configuration.rules[rule]
    guard rule.onIDConflict == .drop, rule.id != .positional || rule.outbox != nil else {
      return nil
    }
    return rule.name
  }

  /// What is wrong with a body by the rule's schema; nil where nothing is.
  func violation(rule: Int, body: [UInt8]) -> String? { maker.violation(rule: rule, body: body) }
}
