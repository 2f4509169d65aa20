import Bridge
package import BridgeConfiguration
package import Mapping
import NATS
package import Oplog

/// A message that is published by a request of its own, in place of its dead letter.
struct ReplayedMessage {
  var subject: String
  var headers: NATSHeaders
  var body: [UInt8]
  var id: String
  var rule: String
  var stream: String
}

/// Makes, by today's rules, the messages of events that are dead letters.
package struct ReplayMaker: ~Copyable {
  private let configuration: BridgeConfiguration
  private var maker: MessageMaker
  private var sink: BufferSink

  package init(_ configuration: BridgeConfiguration, sourceName: String, maximumPayload: Int) {
    self.configuration = configuration
    maker = MessageMaker(configuration, sourceName: sourceName)
    sink = BufferSink(configuration, maximumPayload: maximumPayload)
  }

  mutating func message(
    of event: ChangeEvent, replacing letter: DeadLetter
  ) throws(MappingError) -> ReplayedMessage {
    let rule = try make(event, letterID: letter.id, letterRule: letter.rule)
    guard configuration.rules[rule].route != .core else {
      throw MappingError(
        .unmatched,
        "rule \(configuration.rules[rule].name) publishes signals (delivery: core), which never come late"
      )
    }
    guard !configuration.rules[rule].route.isBucket else {
      throw MappingError(
        .unmatched,
        """
        rule \(configuration.rules[rule].name) puts entries into a bucket, and this one would replace what its key got \
        since: tailrace snapshot --rule \(configuration.rules[rule].name) puts the present documents
        """)
    }
    var fields = NATSHeaders(HeaderLines.fields(String(decoding: sink.headers, as: UTF8.self)))
    fields.append("\(HeaderName.replayed)", String(letter.sequence))
    let own = OwnMessage(MessageMarks(sink.headers))
    return ReplayedMessage(
      subject: String(decoding: sink.subject, as: UTF8.self), headers: fields,
      body: Array(sink.body), id: own.storedID,
      rule: own.rule ?? "",
      stream: configuration.destination(of: configuration.rules[rule]))
  }

  /// Makes the message, and hands out its parts.
  package mutating func message(
    of event: ChangeEvent, letterID: String, letterRule: String
  ) throws(MappingError) -> (subject: [UInt8], headers: [UInt8], body: [UInt8]) {
    _ = try make(event, letterID: letterID, letterRule: letterRule)
    return (Array(sink.subject), Array(sink.headers), Array(sink.body))
  }

  /// - Returns: the rule.
  private mutating func make(
    _ event: ChangeEvent, letterID: String, letterRule: String
  ) throws(MappingError) -> Int {
    let rules = configuration.rules
    // The rule it was of, if that still takes it; else the first that does.
    guard
      let taken = maker.match(event, where: { rules[$0].name == letterRule })
        ?? maker.match(event, where: { _ in true })
    else { throw MappingError(.unmatched, "no rule takes this event") }
    let rule = taken.rule
    // A further match's positional id ends with the rule's name, and so may a document's own key in the
    // id of a snapshot.
    var match = 0
    if letterID.hasSuffix(":\(rules[rule].name)"),
      maker.identity(event, rule: rule, match: 0) != letterID
    {
      match = 1
    }
    var cursor = MatchCursor(rule: taken, match: match)
    switch maker.step(event, &cursor, buffer: &sink) {
    case .sent: return rule
    case .invalid(_, let error), .halt(.invalid(_, let error)): throw error
    case .deadLetter, .dropped, .filtered, .passed, .unmatched, .halt, .full:
      throw MappingError(
        .unmatched,
        "rule \(rules[rule].name) makes no message of it: its include and exclude leave nothing of "
          + "this update (skip_empty_updates)")
    }
  }
}
