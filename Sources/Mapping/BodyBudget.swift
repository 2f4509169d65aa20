import BSON
import Oplog

/// The cost limit of bodies that aren't just the event's unchanged documents: a document may have millions of
/// fields, and each is looked up among a rule's paths. Counted in steps, not in time, before anything is
/// written, so that a second run decides alike.
///
/// Up to 50 ns each, so at most 50 ms altogether.
enum BodyBudget {
  static let steps = 1_000_000
  /// For a path with dots, as updates have them, where a rule renames or redacts.
  static let pathCost = 20
  /// For each value that is hashed, beyond its bytes.
  static let hashCost = 60
  /// Smaller events can't exceed the steps.
  static let leastBytes = 48_000

  static let exceeded = MappingError(
    .tooComplex,
    "the rule's include, exclude, rename, redact or envelope takes more than \(steps) steps on "
      + "this event")
}

/// The steps of a rule's bodies for each field and element of the event's documents.
struct BodyCost {
  /// 0: bodies are the unchanged documents, which costs no more than reading them.
  var field = 0
  var path = 0
  var hashes = false

  init(_ rule: Rule) {
    let changes = rule.changes
    let isFiltered =
      !rule.filter.include.isEmpty || !rule.filter.exclude.isEmpty || !changes.redactions.isEmpty
    if isFiltered { field += 1 }
    if !changes.renames.isEmpty { field += 3 }
    if rule.envelope == .debezium { field += 2 }
    if !changes.renames.isEmpty || !changes.redactions.isEmpty { path = BodyBudget.pathCost }
    hashes = changes.redactions.contains { $0.redaction == .hash }
    if hashes { field += 1 }
  }
}

extension MappingPlan {
  /// Throws `too_complex` for an event whose body would exceed the budget.
  func checkBudget(ofBody rule: RulePlan, _ event: borrowing ChangeEvent) throws(MappingError) {
    guard takesTooLong(rule, event) else { return }
    throw BodyBudget.exceeded
  }

  func takesTooLong(_ rule: RulePlan, _ event: borrowing ChangeEvent) -> Bool {
    guard rule.bodyCost.field > 0 else { return false }
    let bytes =
      (event.documentKey?.bytes.count ?? 0) &+ (event.fullDocument?.bytes.count ?? 0)
      &+ (event.updateDescription?.bytes.count ?? 0)
      &+ (event.fullDocumentBeforeChange?.bytes.count ?? 0)
    guard bytes >= BodyBudget.leastBytes else { return false }
    var count = BodySteps(rule.bodyCost)
    if let document = event.fullDocument { take(document, rule.fullDocument, 1, &count) }
    if rule.outbox == nil {
      if let update = event.updateDescription { take(update, rule.updateDescription, 1, &count) }
      if let document = event.fullDocumentBeforeChange {
        take(document, rule.beforeChange, 1, &count)
      }
      if let key = event.documentKey { take(key, rule.documentKey, 1, &count) }
    }
    return count.left < 0
  }

  private func take(
    _ view: BSONView, _ state: FilterState, _ depth: Int, _ count: inout BodySteps,
    inArray: Bool = false
  ) {
    guard !state.isDropped, depth <= BSONView.maximumDepth else { return }
    var walk = view.elements()
    while count.left >= 0, let element = try? walk.next() {
      count.take(element)
      var next = state
      if count.cost.hashes {
        next = filters.step(state, key: element.key, inArray: inArray)
        if next.redaction != nil {
          if next.redaction == .hash { count.hash(element) }
          continue
        }
      }
      guard let inner = element.document else { continue }
      take(inner, next, depth &+ 1, &count, inArray: element.type == .array)
    }
  }
}

private struct BodySteps {
  let cost: BodyCost
  var left = BodyBudget.steps

  init(_ cost: BodyCost) { self.cost = cost }

  mutating func hash(_ element: BSONElement) {
    // A document is written as JSON first.
    left &-= BodyBudget.hashCost &+ element.value.count &>> (element.document == nil ? 4 : 3)
  }

  mutating func take(_ element: BSONElement) {
    left &-= cost.field &+ element.key.count &>> 4
    guard cost.path > 0 else { return }
    // `removedFields` and `truncatedArrays` have paths as values.
    if element.key.contains(UInt8(ascii: "."))
      || (element.type == .string && element.value.count < 512
        && element.value.contains(UInt8(ascii: ".")))
    {
      left &-= cost.path
    }
  }
}
