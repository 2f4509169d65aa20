import BSON
import Bridge
package import BridgeConfiguration
package import Mapping
package import Oplog

/// A change event, and what the rules make of it.
package struct DerivedEvent: Sendable {
  package var position: EventPosition
  package var operation: String
  /// `database.collection`, or the database.
  package var namespace: String
  /// Relaxed Extended JSON; nil where it has none.
  package var documentKey: String?
  /// Milliseconds since 1970.
  package var wallTime: Int64?
  /// The change event in canonical Extended JSON; empty where nobody reads it.
  package var text: String
  /// Of each rule, in their order.
  package var rules: [RuleAccount]
  /// One for each rule that takes the event; one without a rule where none does.
  package var outcomes: [DerivedOutcome]
}

/// Whether one rule takes the event, and why not.
package struct RuleAccount: Sendable, Equatable {
  package var name: String
  package var takes: Bool
  /// As in JSON: `taken`, `undecided`, `namespace`, `operation`, `where`, `not_tried`.
  package var verdict: String
  package var reason: String
  /// The same without values of the event.
  package var outline: String

  package init(_ verdict: MatchTrace.Verdict, of rule: Rule, among rules: [Rule]) {
    name = rule.name
    takes = false
    var withoutValues: String?
    switch verdict {
    case .taken:
      takes = true
      self.verdict = "taken"
      reason = rule.continues ? "takes it, and hands it on (continue)" : "takes it"
    case .undecided:
      takes = true
      self.verdict = "undecided"
      reason = "takes it, as invalid: \(Mapper.undecided.detail)"
    case .otherNamespace:
      self.verdict = "namespace"
      reason = "its namespace is \(rule.namespace)"
    case .otherOperation:
      self.verdict = "operation"
      let names = rule.operations.operations.map(\.configurationName)
      reason = "its operations are \(names.joined(separator: ", "))"
    case .refused(let condition):
      self.verdict = "where"
      reason = "its where has \(condition.description)"
      withoutValues = "its where has \(condition.condition), and the event does not"
    case .notTried(let winner):
      self.verdict = "not_tried"
      reason = "\(rules[winner].name) took the event before"
    }
    outline = withoutValues ?? reason
  }
}

/// What the event becomes by one of its rules.
package struct DerivedOutcome: Sendable, Equatable {
  package enum Kind: Sendable, Equatable {
    case message
    /// A message that no stream holds (`delivery: core`).
    case signal
    case deadLetter(code: String, detail: String)
    case dropped(code: String, detail: String)
    /// An update of which the rule's body would show nothing.
    case filtered
    case unmatched
    case halt(String)
  }
  package var kind: Kind
  /// Nil: no rule takes the event.
  package var rule: String?
  package var group: String?
  /// Where it goes; nil: nowhere.
  package var stream: String?
  package var subject = ""
  package var headers: [(name: String, value: String)] = []
  package var body: [UInt8] = []
  package var schema: SchemaVerdict?
  /// Seconds for which its bucket keeps it, where the rule says so.
  package var timeToLive: Int?
  /// A document that the rule wants can't be had as it was: the published message may have been another one.
  package var isUncertain = false
  /// The error without values of the event's documents, where it is known.
  package var outline: String?

  package enum SchemaVerdict: Sendable, Equatable {
    case valid(path: String)
    case invalid(path: String, detail: String)
  }

  package init(_ kind: Kind, rule: Rule? = nil, stream: String? = nil) {
    self.kind = kind
    self.rule = rule?.name
    group = rule?.group
    timeToLive = rule?.keyTTL
    self.stream = stream
  }

  package var id: String { headers.first { $0.name == "\(HeaderName.id)" }?.value ?? "" }
  /// A message or a letter is stored somewhere.
  package var isStored: Bool {
    switch kind {
    case .message, .deadLetter: true
    case .signal, .dropped, .filtered, .unmatched, .halt: false
    }
  }

  package static func == (a: Self, b: Self) -> Bool {
    a.kind == b.kind && a.rule == b.rule && a.stream == b.stream && a.subject == b.subject
      && a.body == b.body && a.schema == b.schema
      && a.headers.elementsEqual(b.headers) { $0.name == $1.name && $0.value == $1.value }
  }
}

/// Derives what the rules make of events, by the maker that the bridge itself uses. Owned by one thread.
package struct EventDeriver: ~Copyable {
  private let configuration: BridgeConfiguration
  private let rules: [Rule]
  private var maker: MessageMaker
  private var tracer: Mapper
  private var writer = Mapper(rules: [], sourceName: "")
  private var sink: BufferSink
  private let writesText: Bool

  /// - Parameter writesText: false: the event itself is not asked for, whose text takes several times the memory of
  ///   its document.
  package init(
    _ configuration: BridgeConfiguration, sourceName: String, maximumPayload: Int = 1 << 20,
    writesText: Bool = true
  ) {
    self.configuration = configuration
    self.writesText = writesText
    rules = configuration.rules
    let set = configuration.ruleSet(sourceName: sourceName)
    maker = MessageMaker(set)
    tracer = set.mapper
    sink = BufferSink(configuration, maximumPayload: maximumPayload)
  }

  package mutating func derive(_ event: ChangeEvent) -> DerivedEvent {
    let trace = tracer.trace(event)
    var text = ByteWriter(capacity: 1024)
    if writesText { writer.writeDeadLetterBody(event: event, into: &text) }
    return DerivedEvent(
      position: event.position, operation: "\(event.operation.name)",
      namespace: String(decoding: event.namespace, as: UTF8.self),
      documentKey: event.documentKey.flatMap { Self.relaxed($0) }, wallTime: event.wallTime,
      text: String(decoding: text.bytes, as: UTF8.self),
      rules: zip(trace.verdicts, rules).map { RuleAccount($0, of: $1, among: rules) },
      outcomes: outcomes(event))
  }

  private static func relaxed(_ view: BSONView) -> String? {
    var out = ByteWriter(capacity: 128)
    guard (try? out.appendJSON(view, style: .relaxed)) != nil else { return nil }
    return String(decoding: out.bytes, as: UTF8.self)
  }

  private mutating func outcomes(_ event: ChangeEvent) -> [DerivedOutcome] {
    var found: [DerivedOutcome] = []
    let isUncertain = !maker.lackedImages(event).isEmpty
    var cursor = maker.begin(event)
    while !cursor.isDone {
      switch maker.step(event, &cursor, buffer: &sink) {
      case .sent(let rule):
        let isSignal = rules[rule].route == .core
        var outcome = DerivedOutcome(
          isSignal ? .signal : .message, rule: rules[rule],
          stream: isSignal ? nil : configuration.destination(of: rules[rule]))
        if let schema = configuration.schemas[rule] { outcome.schema = .valid(path: schema.path) }
        outcome.isUncertain = isUncertain
        take(&outcome)
        found.append(outcome)
      case .deadLetter(let rule, let error):
        var outcome = DerivedOutcome(
          .deadLetter(code: error.code.rawValue, detail: error.detail),
          rule: rule.map { rules[$0] }, stream: configuration.deadLetter.stream)
        outcome.schema = verdict(rule, error)
        outcome.outline = error.outline
        take(&outcome)
        found.append(outcome)
      case .dropped(let rule, let error):
        var outcome = DerivedOutcome(
          .dropped(code: error.code.rawValue, detail: error.detail), rule: rules[rule])
        outcome.schema = verdict(rule, error)
        outcome.outline = error.outline
        found.append(outcome)
      case .filtered(let rule): found.append(DerivedOutcome(.filtered, rule: rules[rule]))
      case .unmatched: found.append(DerivedOutcome(.unmatched))
      case .halt(let halt):
        found.append(self.halt(halt, event))
        return found
      // The rule's policy follows.
      case .invalid: break
      case .passed, .full: return found
      }
    }
    return found
  }

  private mutating func take(_ outcome: inout DerivedOutcome) {
    outcome.subject = String(decoding: sink.subject, as: UTF8.self)
    outcome.headers = HeaderLines.fields(String(decoding: sink.headers, as: UTF8.self))
    outcome.body = Array(sink.body)
  }

  private func verdict(_ rule: Int?, _ error: MappingError) -> DerivedOutcome.SchemaVerdict? {
    guard let rule, error.code == .schemaInvalid, let schema = configuration.schemas[rule] else {
      return nil
    }
    return .invalid(path: schema.path, detail: error.detail)
  }

  private func halt(_ halt: MessageMaker.Halt, _ event: ChangeEvent) -> DerivedOutcome {
    let failure = PipelineFailure(halt, event, rules: rules.map(\.name))
    var rule: Rule?
    var schema: DerivedOutcome.SchemaVerdict?
    var outline: String?
    if case .invalid(let index, let error) = halt {
      rule = rules[index]
      schema = verdict(index, error)
      outline = "\(error.code.rawValue): \(error.outline)"
    }
    var outcome = DerivedOutcome(.halt("\(failure)"), rule: rule)
    outcome.schema = schema
    outcome.outline = outline
    return outcome
  }
}
