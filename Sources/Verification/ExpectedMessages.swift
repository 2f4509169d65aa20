import BSON
import Bridge
package import BridgeConfiguration
package import Mapping
package import Oplog

/// A message that a stream should hold. Its bytes are valid only during the call that hands it out.
package struct DerivedMessage {
  /// Index into the verification's streams.
  package var stream: Int
  /// Nil: the dead letter of an event that no rule takes.
  package var rule: Int?
  package var position: EventPosition
  package var subject: UnsafeRawBufferPointer
  /// Lines, each with its end.
  package var headers: UnsafeRawBufferPointer
  package var body: UnsafeRawBufferPointer
  /// Others may publish it under the same id.
  var isShared: Bool
  /// The rule's number among those that take the event.
  var match: Int
  /// Of a dead letter: why.
  package var error: MappingError?
}

/// Makes of changes the messages that the bridge has to make of them, dead letters included: the same
/// mapping and schemas, none of the publishing. Owned by one event loop.
package final class ExpectedMessages {
  private let configuration: BridgeConfiguration
  private var maker: MessageMaker
  private var sink: BufferSink
  private let isShared: [Bool]
  /// Nil: its messages are stored nowhere, and nothing is expected of them.
  private let streamOfRule: [Int?]
  let deadLetterStream: Int

  private(set) lazy var alternatives = MessageAlternatives(
    configuration, sourceName: sourceName, limits: limits)
  private let sourceName: String
  private let limits: [MessageLimits]

  private(set) var events: UInt64 = 0
  package private(set) var unmatched: UInt64 = 0
  package private(set) var dropped: UInt64 = 0
  /// Messages that the bridge would halt for, by today's rules: nothing is expected of them.
  package private(set) var halts: UInt64 = 0

  /// - Parameter limits: by stream, in the order of the configuration, dead letters' last unless it is
  ///   one of those.
  package init(_ configuration: BridgeConfiguration, sourceName: String, limits: [MessageLimits]) {
    self.configuration = configuration
    self.limits = limits
    self.sourceName = sourceName
    maker = MessageMaker(configuration, sourceName: sourceName)
    // Compared by the ids of the messages that they would have been.
    maker.qualifiesLetterIDs = false
    streamOfRule = configuration.rules.map(\.streamIndex)
    let letters = configuration.indexOfDeadLetterStream
    deadLetterStream = letters
    sink = BufferSink(
      rules: configuration.rules.map { limits[$0.streamIndex ?? letters] },
      letters: limits[letters])
    isShared = configuration.rules.map { rule in
      rule.streamIndex.map { configuration.streams[$0].ownership } == .shared
        && (rule.id != .positional || rule.outbox != nil)
    }
  }

  package func derive(_ event: ChangeEvent, _ emit: (DerivedMessage) -> Void) {
    events &+= 1
    var cursor = maker.begin(event)
    if cursor.rule == nil { unmatched &+= 1 }
    while !cursor.isDone {
      let match = cursor.match
      switch maker.step(event, &cursor, buffer: &sink) {
      case .sent(let rule):
        if let stream = streamOfRule[rule] { emit(message(event, rule, match, stream: stream)) }
      case .deadLetter(let rule, let error):
        emit(message(event, rule, match, stream: deadLetterStream, error))
      case .dropped(let rule, _): if streamOfRule[rule] != nil { dropped &+= 1 }
      case .halt:
        halts &+= 1
        maker.skip(event, &cursor)
      case .filtered, .invalid, .unmatched, .passed, .full: break
      }
    }
  }

  /// What the sink has.
  private func message(
    _ event: ChangeEvent, _ rule: Int?, _ match: Int, stream: Int, _ error: MappingError? = nil
  ) -> DerivedMessage {
    DerivedMessage(
      stream: stream, rule: rule, position: event.position, subject: sink.subject,
      headers: sink.headers, body: sink.body,
      isShared: error == nil && (rule.map { isShared[$0] } ?? false), match: match, error: error)
  }

  /// What of the event's messages can't be told any more; nil where everything can.
  func doubt(_ event: ChangeEvent) -> ImageDoubt? { ImageDoubt(event, configuration, &maker) }

  /// Streams that may hold something of the rule: its own, and that of dead letters.
  func streams(of rule: Int?) -> [Int] {
    guard let rule else { return [deadLetterStream] }
    guard let own = streamOfRule[rule] else { return [] }
    return own == deadLetterStream ? [deadLetterStream] : [own, deadLetterStream]
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
