public import BSON
public import Oplog

/// The name that a rename gives, as views over its event's bytes: valid as long as the event.
struct RenameTarget {
  var database: UnsafeRawBufferPointer
  /// Empty where there is none.
  var collection: UnsafeRawBufferPointer
}

extension ChangeEvent {
  /// Nil if the event is no rename.
  var renamedTo: RenameTarget? {
    guard operation == .rename, let to else { return nil }
    let dot = to.firstIndex(of: UInt8(ascii: ".")) ?? to.count
    return RenameTarget(
      database: UnsafeRawBufferPointer(rebasing: to[..<dot]),
      collection: UnsafeRawBufferPointer(rebasing: to[min(dot + 1, to.count)...]))
  }
}

/// Makes messages of change events, by rules: which rule takes an event, and what subject, headers
/// and body its message has. A pure function of rules, source name and event.
///
/// Everything is written straight into the caller's buffer; on an error the buffer is as it was.
/// After the first event of a namespace nothing allocates. Not thread-safe, which unique ownership
/// enforces at compile time.
public struct Mapper: ~Copyable {
  let plan: MappingPlan
  let rules: [Rule]
  private var cache = NamespaceCache()
  var scratch = Scratch()

  /// Dead letters have ids of their own (`DeadLetterID`): another message has, or may have, those of the messages
  /// that they would have been.
  public var qualifiesLetterIDs: Bool

  /// `sourceName` is the identity in positional ids and in `ce-source`; `redactionKey` the key for
  /// hashed values (without one, they are masked); `mark` how messages name their bridge (without one, none
  /// does).
  public init(
    rules: [Rule], sourceName: String, redactionKey: [UInt8]? = nil, mark: BridgeMark? = nil
  ) {
    self.rules = rules
    self.plan = MappingPlan(
      rules: rules, sourceName: sourceName, redactionKey: redactionKey, mark: mark)
    qualifiesLetterIDs = mark?.qualifiesLetterIDs ?? false
  }

  /// The first rule that takes the event; nil where none does.
  public mutating func firstMatch(_ event: borrowing ChangeEvent) -> RuleMatch? {
    match(event, from: 0, plan.conditions.budget.start)
  }

  /// The next rule that takes the event after that one, if that one has `continue: true`.
  public mutating func nextMatch(
    _ event: borrowing ChangeEvent, after last: RuleMatch
  ) -> RuleMatch? {
    plan.rules[last.rule].continues ? match(event, from: last.rule + 1, last.steps) : nil
  }

  private mutating func match(
    _ event: borrowing ChangeEvent, from first: Int, _ steps: ConditionSteps
  ) -> RuleMatch? {
    if let target = event.renamedTo { return matchRename(event, to: target, from: first, steps) }
    let database = event.database
    let collection = event.collection
    let rules = self.rules
    let candidates = cache.lookup(event.namespace, ruleCount: rules.count) { rule in
      rules[rule].namespace.matches(database: database, collection: collection)
    }
    var steps = steps
    for index in candidates {
      let rule = Int(cache.rules[index])
      guard rule >= first, plan.rules[rule].operations.contains(event.operation) else { continue }
      let verdict = judge(event, rule: rule, &steps)
      if verdict != .refused {
        return RuleMatch(rule: rule, isDecided: verdict == .satisfied, steps: steps)
      }
    }
    return nil
  }

  /// Whether the event satisfies the rule's condition.
  @inline(__always)
  mutating func judge(
    _ event: borrowing ChangeEvent, rule: Int, _ steps: inout ConditionSteps
  ) -> ConditionVerdict {
    let condition = plan.rules[rule].condition
    if condition < 0 { return .satisfied }
    // Whether it holds is unknown: the event is the rule's, and invalid (`payload_too_large`), rather
    // than lost.
    if event.isOversized, plan.rules[rule].conditionReadsUpdate { return .satisfied }
    guard hidesImages(of: event, from: rule) else {
      return plan.judge(condition, event, &steps, &scratch)
    }
    let own = withOwnImages(event, rule)
    return plan.judge(condition, own, &steps, &scratch)
  }

  /// A rename concerns the rules of both names: documents leave one collection and enter another. The
  /// first that takes either is the event's. Renames are rare, so nothing is cached for them.
  private mutating func matchRename(
    _ event: borrowing ChangeEvent, to target: RenameTarget, from first: Int,
    _ steps: ConditionSteps
  ) -> RuleMatch? {
    var steps = steps
    for rule in rules.indices.dropFirst(first) {
      guard plan.rules[rule].operations.contains(.rename), concerns(event, target, rule: rule)
      else { continue }
      let condition = plan.rules[rule].condition
      let verdict =
        condition < 0 ? .satisfied : plan.judge(condition, event, &steps, &scratch)
      if verdict != .refused {
        return RuleMatch(rule: rule, isDecided: verdict == .satisfied, steps: steps)
      }
    }
    return nil
  }

  func concerns(
    _ event: borrowing ChangeEvent, _ target: RenameTarget, rule: Int
  ) -> Bool {
    let namespace = rules[rule].namespace
    if namespace.matches(database: event.database, collection: event.collection) { return true }
    return namespace.matches(database: target.database, collection: target.collection)
  }

  // MARK: Images

  /// The documents that an event's rules want and its oplog entry does not hold.
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

  /// The documents that the rules which take the event want.
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
    var steps = plan.conditions.budget.start
    for candidate in candidates {
      let rule = plan.rules[Int(cache.rules[candidate])]
      guard rule.operations.contains(event.operation) else { continue }
      // Without the image, the result of such a condition is unknown: both are possible.
      let isOpen = rule.conditionNeedsImage && isUpdate
      if !isOpen, rule.condition >= 0 {
        let isUnknown = event.isOversized && rule.conditionReadsUpdate
        if !isUnknown, plan.judge(rule.condition, event, &steps, &scratch) == .refused { continue }
      }
      if rule.wantsImage, isUpdate { wanted.insert(.after) }
      if rule.wantsBeforeChange { wanted.insert(.before) }
      if !isOpen, !rule.continues { break }
    }
    return wanted
  }

  /// Whether some rule may want an image in this namespace: its changes bound what a read can show.
  public mutating func watchesImages(in event: borrowing ChangeEvent) -> Bool {
    if let target = event.renamedTo {
      for rule in rules.indices where plan.rules[rule].wantsImage {
        if concerns(event, target, rule: rule) { return true }
      }
      return false
    }
    let database = event.database
    let collection = event.collection
    let rules = self.rules
    let candidates = cache.lookup(event.namespace, ruleCount: rules.count) { rule in
      rules[rule].namespace.matches(database: database, collection: collection)
    }
    for index in candidates where plan.rules[Int(cache.rules[index])].wantsImage { return true }
    return false
  }

  /// Documents that were fetched for another rule aren't shown to this one: what a rule
  /// makes of an event must not depend on its neighbours.
  func hidesImages(of event: borrowing ChangeEvent, from rule: Int) -> Bool {
    let hasBefore = event.fullDocumentBeforeChange != nil
    guard event.image != nil || hasBefore else { return false }
    return !plan.rules[rule].wantsImage || (hasBefore && !plan.rules[rule].wantsBeforeChange)
  }

  func withOwnImages(_ event: borrowing ChangeEvent, _ rule: Int) -> ChangeEvent {
    var own = copy event
    if event.image != nil, !plan.rules[rule].wantsImage {
      own.image = nil
      own.fullDocument = nil
    }
    if !plan.rules[rule].wantsBeforeChange { own.fullDocumentBeforeChange = nil }
    return own
  }

  /// Why an event is invalid for a rule whose condition was not decided.
  public static var undecided: MappingError { ConditionBudget.exceeded }

  /// The message's subject: the first of the three to be called.
  /// - Throws: also `payload_too_large` for an update that is too large to be shown.
  public mutating func writeSubject(
    rule: Int, event: borrowing ChangeEvent, into: inout ByteWriter
  ) throws(MappingError) {
    scratch.lookupSteps = LookupBudget.part
    if event.isOversized, plan.rules[rule].showsUpdate || plan.rules[rule].conditionReadsUpdate {
      throw plan.oversized(event)
    }
    if hidesImages(of: event, from: rule) {
      let own = withOwnImages(event, rule)
      return try plan.writeSubject(plan.rules[rule], event: own, scratch: &scratch, into: &into)
    }
    try plan.writeSubject(plan.rules[rule], event: event, scratch: &scratch, into: &into)
  }

  /// Header lines `Name: value CRLF`: `Nats-Msg-Id`, `Tailrace-Position`, `Tailrace-Rule`, in a stream
  /// that other bridges may write to `Tailrace-Bridge`, and for `cloudevents` the `ce-*` headers. Neither
  /// the version line nor the closing empty line.
  ///
  /// `match` is 0 for the event's first matching rule, 1 for the second, and so on.
  public mutating func writeHeaders(
    rule: Int, event: borrowing ChangeEvent, match: Int, into: inout ByteWriter
  ) throws(MappingError) {
    scratch.lookupSteps = LookupBudget.part
    if hidesImages(of: event, from: rule) {
      let own = withOwnImages(event, rule)
      return try plan.writeHeaders(
        plan.rules[rule], event: own, match: match, scratch: &scratch, into: &into)
    }
    try plan.writeHeaders(
      plan.rules[rule], event: event, match: match, scratch: &scratch, into: &into)
  }

  /// `match` as for `writeHeaders`: some bodies hold the id. One that is clearly longer than `room` is not
  /// written to its end; the caller checks its size all the same.
  public mutating func writeBody(
    rule: Int, event: borrowing ChangeEvent, match: Int, room: Int? = nil, into: inout ByteWriter
  ) throws(MappingError) {
    scratch.lookupSteps = LookupBudget.part
    into.limit(to: room.map { into.count + $0 })
    do throws(MappingError) {
      try writeWholeBody(rule: rule, event: event, match: match, into: &into)
    } catch {
      let isCut = into.isCut
      into.limit(to: nil)
      throw isCut ? MessageLimits.cut(room ?? 0) : error
    }
    into.limit(to: nil)
  }

  private mutating func writeWholeBody(
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

  /// Whether the rule's message of the event purges a key of its bucket: it has no body.
  @inline(__always)
  public func purges(rule: Int, event: borrowing ChangeEvent) -> Bool {
    let isDelete = event.operation == .delete
    return isDelete && plan.rules[rule].isBucket
  }

  /// The message id alone, as `writeHeaders` writes it.
  public mutating func writeID(
    rule: Int, event: borrowing ChangeEvent, match: Int, into: inout ByteWriter
  ) throws(MappingError) {
    scratch.lookupSteps = LookupBudget.part
    let start = into.count
    do {
      try plan.writeID(
        plan.rules[rule], event: event, match: match, scratch: &scratch, into: &into)
    } catch {
      into.truncate(to: start)
      throw error
    }
  }

  /// The id of the event's message, or of its dead letter if that differs: if the rule's own can't be derived, or
  /// no rule took the event.
  public mutating func writeIdentity(
    rule: Int?, event: borrowing ChangeEvent, match: Int, into: inout ByteWriter
  ) {
    scratch.lookupSteps = LookupBudget.part
    plan.writeIdentity(
      rule.map { plan.rules[$0] }, event: event, match: match, scratch: &scratch, into: &into)
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
  ///
  /// They always fit: if all of it would exceed `limit` bytes, only what identifies the event and the reason
  /// are left.
  public mutating func writeDeadLetterHeaders(
    rule: Int?, event: borrowing ChangeEvent, match: Int, error: MappingError,
    limit: Int = MessageLimits.headerLines, into: inout ByteWriter
  ) {
    scratch.lookupSteps = LookupBudget.part
    let plan = rule.map { self.plan.rules[$0] }
    let start = into.count
    do throws(MappingError) {
      guard let plan else { throw error }
      try self.plan.writeHeaders(
        plan, event: event, match: match, asLetter: true, scratch: &scratch, into: &into)
      writeReason(error, plan, event: event, into: &into)
      if qualifiesLetterIDs { qualifyID(at: start, rule: rule, event: event, in: &into) }
      if into.count - start <= limit { return }
    } catch {
      // An error of the headers, not of the event.
    }
    into.truncate(to: start)
    self.plan.writeLeastHeaders(
      plan, name: name(of: rule), event: event, match: match, scratch: &scratch, into: &into)
    if qualifiesLetterIDs { qualifyID(at: start, rule: rule, event: event, in: &into) }
    let end = into.count
    writeReason(error, plan, event: event, into: &into)
    if into.count - start <= limit { return }
    into.truncate(to: end)
    into.append(reason: error, limit: 64)
  }

  private mutating func writeReason(
    _ error: MappingError, _ plan: RulePlan?, event: borrowing ChangeEvent, into: inout ByteWriter
  ) {
    into.append(reason: error, limit: error.code == .schemaInvalid ? 2048 : 512)
    guard let plan else { return }
    let start = into.count
    into.append("Tailrace-Subject: ")
    do throws(MappingError) {
      try self.plan.writeSubject(plan, event: event, scratch: &scratch, into: &into)
      into.append("\r\n")
    } catch {
      into.truncate(to: start)
    }
  }

  /// Makes the id at the beginning of the headers from `start` on unique.
  private func qualifyID(
    at start: Int, rule: Int?, event: borrowing ChangeEvent, in headers: inout ByteWriter
  ) {
    var end = start
    while end < headers.count, headers.bytes[end] != 0x0D { end += 1 }
    var mark = ByteWriter(capacity: 160)
    mark.append(plan.bytes(plan.letterMark))
    mark.append(name(of: rule), escapedFor: .header)
    mark.append(":")
    mark.append(event.position)
    headers.insert(Array(mark.bytes), at: end)
  }

  /// The change event in canonical Extended JSON, whole: neither `include` nor `exclude` apply.
  ///
  /// A document that JSON can't represent is written as its BSON bytes (`$binary`). Documents that
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
