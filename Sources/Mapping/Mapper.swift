public import BSON
public import Oplog

/// Makes messages of change events, by rules: which rule takes an event, and what subject, headers
/// and body its message has. A pure function of rules, source name and event.
///
/// Everything is written straight into the caller's buffer; on an error the buffer is as it was.
/// After the first event of a namespace nothing allocates. Not thread-safe; unique ownership makes
/// that a compile-time matter.
public struct Mapper: ~Copyable {
  let plan: MappingPlan
  let rules: [Rule]
  private var cache = NamespaceCache()
  private var scratch = Scratch()

  /// `sourceName` is the identity in positional ids and in `ce-source`; `redactionKey` what values are
  /// hashed with where a rule says so (without one, they are masked).
  public init(rules: [Rule], sourceName: String, redactionKey: [UInt8]? = nil) {
    self.rules = rules
    self.plan = MappingPlan(rules: rules, sourceName: sourceName, redactionKey: redactionKey)
  }

  /// The first rule that takes the event; nil where none does.
  public mutating func firstMatch(_ event: borrowing ChangeEvent) -> Int? {
    match(event, from: 0)
  }

  /// The next rule that takes the event after `rule`, if that one says `continue: true`.
  public mutating func nextMatch(_ event: borrowing ChangeEvent, after rule: Int) -> Int? {
    plan.rules[rule].continues ? match(event, from: rule + 1) : nil
  }

  private mutating func match(_ event: borrowing ChangeEvent, from first: Int) -> Int? {
    let database = event.database
    let collection = event.collection
    let rules = self.rules
    let candidates = cache.lookup(event.namespace, ruleCount: rules.count) { rule in
      rules[rule].namespace.matches(database: database, collection: collection)
    }
    for index in candidates {
      let rule = Int(cache.rules[index])
      guard rule >= first, plan.rules[rule].operations.contains(event.operation) else { continue }
      let condition = plan.rules[rule].condition
      if condition < 0 { return rule }
      if hidesImages(of: event, from: rule) {
        let own = withOwnImages(event, rule)
        if plan.satisfies(condition, own, &scratch) { return rule }
      } else if plan.satisfies(condition, event, &scratch) {
        return rule
      }
    }
    return nil
  }

  // MARK: Images

  /// What documents an event's rules want that its oplog entry does not hold.
  @frozen
  public struct WantedImages: OptionSet, Sendable {
    public let rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// The document after an update.
    public static let after = WantedImages(rawValue: 1)
    /// The document before an update, replacement or deletion.
    public static let before = WantedImages(rawValue: 2)
  }

  /// Whether any rule can want one.
  public var wantsImages: Bool { plan.wantsImages }

  /// What the rules that take the event want of it.
  public mutating func wantedImages(_ event: borrowing ChangeEvent) -> WantedImages {
    guard OperationSet.changes.contains(event.operation) else { return [] }
    var wanted: WantedImages = []
    let isUpdate = event.operation == .update
    let database = event.database
    let collection = event.collection
    let rules = self.rules
    let candidates = cache.lookup(event.namespace, ruleCount: rules.count) { rule in
      rules[rule].namespace.matches(database: database, collection: collection)
    }
    for candidate in candidates {
      let rule = plan.rules[Int(cache.rules[candidate])]
      guard rule.operations.contains(event.operation) else { continue }
      // Whether such a condition holds is known only with the image: it may, and it may not.
      let isOpen = rule.conditionNeedsImage && isUpdate
      if !isOpen, rule.condition >= 0 {
        guard plan.satisfies(rule.condition, event, &scratch) else { continue }
      }
      if rule.wantsImage, isUpdate { wanted.insert(.after) }
      if rule.wantsBeforeChange { wanted.insert(.before) }
      if !isOpen, !rule.continues { break }
    }
    return wanted
  }

  /// Whether some rule may want an image in this namespace: its changes bound what a read can show.
  public mutating func watchesImages(in event: borrowing ChangeEvent) -> Bool {
    let database = event.database
    let collection = event.collection
    let rules = self.rules
    let candidates = cache.lookup(event.namespace, ruleCount: rules.count) { rule in
      rules[rule].namespace.matches(database: database, collection: collection)
    }
    for index in candidates where plan.rules[Int(cache.rules[index])].wantsImage { return true }
    return false
  }

  /// Documents that were fetched because another rule wants them are none of this rule's: what a rule
  /// makes of an event must not depend on its neighbours.
  private func hidesImages(of event: borrowing ChangeEvent, from rule: Int) -> Bool {
    let hasBefore = event.fullDocumentBeforeChange != nil
    guard event.image != nil || hasBefore else { return false }
    return !plan.rules[rule].wantsImage || (hasBefore && !plan.rules[rule].wantsBeforeChange)
  }

  private func withOwnImages(_ event: borrowing ChangeEvent, _ rule: Int) -> ChangeEvent {
    var own = copy event
    if event.image != nil, !plan.rules[rule].wantsImage {
      own.image = nil
      own.fullDocument = nil
    }
    if !plan.rules[rule].wantsBeforeChange { own.fullDocumentBeforeChange = nil }
    return own
  }

  public mutating func writeSubject(
    rule: Int, event: borrowing ChangeEvent, into: inout ByteWriter
  ) throws(MappingError) {
    if hidesImages(of: event, from: rule) {
      let own = withOwnImages(event, rule)
      return try plan.writeSubject(plan.rules[rule], event: own, scratch: &scratch, into: &into)
    }
    try plan.writeSubject(plan.rules[rule], event: event, scratch: &scratch, into: &into)
  }

  /// Header lines `Name: value CRLF`: `Nats-Msg-Id`, `Tailrace-Position`, `Tailrace-Rule`, and for
  /// `cloudevents` the `ce-*` headers. Neither the version line nor the closing empty line.
  ///
  /// `match` is 0 for the event's first matching rule, 1 for the second, and so on.
  public mutating func writeHeaders(
    rule: Int, event: borrowing ChangeEvent, match: Int, into: inout ByteWriter
  ) throws(MappingError) {
    if hidesImages(of: event, from: rule) {
      let own = withOwnImages(event, rule)
      return try plan.writeHeaders(
        plan.rules[rule], event: own, match: match, scratch: &scratch, into: &into)
    }
    try plan.writeHeaders(
      plan.rules[rule], event: event, match: match, scratch: &scratch, into: &into)
  }

  /// `match` as for `writeHeaders`: some bodies hold the id.
  public mutating func writeBody(
    rule: Int, event: borrowing ChangeEvent, match: Int, into: inout ByteWriter
  ) throws(MappingError) {
    if hidesImages(of: event, from: rule) {
      let own = withOwnImages(event, rule)
      return try plan.writeBody(
        plan.rules[rule], event: own, match: match, scratch: &scratch, into: &into)
    }
    try plan.writeBody(
      plan.rules[rule], event: event, match: match, scratch: &scratch, into: &into)
  }

  /// The message id alone, as `writeHeaders` writes it.
  public mutating func writeID(
    rule: Int, event: borrowing ChangeEvent, match: Int, into: inout ByteWriter
  ) throws(MappingError) {
    let start = into.count
    do {
      try plan.writeID(
        plan.rules[rule], event: event, match: match, scratch: &scratch, into: &into)
    } catch {
      into.truncate(to: start)
      throw error
    }
  }

  /// The id of the event's message, or of its dead letter where that has another: where the rule's own
  /// can't be derived, or no rule took the event.
  public mutating func writeIdentity(
    rule: Int?, event: borrowing ChangeEvent, match: Int, into: inout ByteWriter
  ) {
    if let rule, (try? writeID(rule: rule, event: event, match: match, into: &into)) != nil {
      return
    }
    plan.writePositionalID(
      rule.map { plan.rules[$0] }, event: event, match: match, into: &into)
  }

  // MARK: Dead letters

  /// The subject of the event's dead letter. `rule` is nil where no rule took the event.
  public mutating func writeDeadLetterSubject(
    _ subject: DeadLetterSubject, rule: Int?, event: borrowing ChangeEvent, error: MappingError,
    into: inout ByteWriter
  ) {
    subject.write(rule: name(of: rule), error: error.code, event: event, into: &into)
  }

  /// The headers the message would have had, as far as they can be derived (the positional id where
  /// the rule's own can't be), then `Tailrace-Error`, `Tailrace-Error-Detail` and, where it can be
  /// derived, `Tailrace-Subject`.
  public mutating func writeDeadLetterHeaders(
    rule: Int?, event: borrowing ChangeEvent, match: Int, error: MappingError,
    into: inout ByteWriter
  ) {
    let plan = rule.map { self.plan.rules[$0] }
    let start = into.count
    do throws(MappingError) {
      guard let plan else { throw error }
      try self.plan.writeHeaders(
        plan, event: event, match: match, scratch: &scratch, into: &into)
    } catch {
      into.truncate(to: start)
      self.plan.writePositionalHeaders(
        plan, name: name(of: rule), event: event, match: match, into: &into)
    }
    into.append("Tailrace-Error: ")
    into.append(error.code.rawValue)
    into.append("\r\nTailrace-Error-Detail: ")
    into.append(line: error.detail, limit: error.code == .schemaInvalid ? 2048 : 512)
    into.append("\r\n")
    guard let plan else { return }
    let subjectStart = into.count
    into.append("Tailrace-Subject: ")
    do throws(MappingError) {
      try self.plan.writeSubject(plan, event: event, scratch: &scratch, into: &into)
      into.append("\r\n")
    } catch {
      into.truncate(to: subjectStart)
    }
  }

  /// The change event in canonical Extended JSON, whole: neither `include` nor `exclude` apply.
  ///
  /// A document that JSON can't hold stands there as its BSON bytes (`$binary`). Documents that
  /// would make the body longer than `limit` bytes are left out and named in `omitted`.
  public mutating func writeDeadLetterBody(
    event: borrowing ChangeEvent, limit: Int = .max, into: inout ByteWriter
  ) {
    plan.writeDeadLetterBody(event: event, limit: limit, into: &into)
  }

  private func name(of rule: Int?) -> String {
    rule.map { rules[$0].name } ?? DeadLetterSubject.unmatchedRule
  }
}
