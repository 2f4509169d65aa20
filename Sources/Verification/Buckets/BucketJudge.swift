import BSON
package import Bridge
package import BridgeConfiguration
import JSON
import Mapping
package import Oplog
package import Parity

/// Compares documents of collections with the entries of buckets. Owned by one event loop.
package final class BucketJudge: DocumentJudge {
  /// What can't be told, and why.
  package enum Undecided: Hashable, Sendable, CaseIterable {
    case expired, alike, foreign, newer, before, deadLetters, unmappable, dropped, silent,
      collections, images
  }

  package struct Difference: Sendable {
    package var mismatch: Mismatch
    var stream: Int
    /// Of the document that the entry differs from.
    var wanted: Int?
  }

  package struct Found: Sendable {
    package var documents: UInt64 = 0
    package var entries: UInt64 = 0
    /// Not changed since the bridge began, which published no snapshot.
    package var beforeBridge: UInt64 = 0
    /// At most `StateJudge.mostUnequal`.
    package var unequal: [DocumentKey: Difference] = [:]
    package var undecided: [Undecided: StateJudge.Tally] = [:]
    /// By collection: why its entries are not compared.
    package var notComparable: [String: String] = [:]
    var tooMany = false
  }

  /// What is known besides entries and documents.
  package struct Knowledge: Sendable {
    /// The moment that documents are compared at.
    package var moment: EventPosition
    /// The last snapshot, if it is over.
    package var snapshot: Checkpoint.Snapshot?
    /// What happened to whole collections; nil: not asked for yet.
    package var facts: CollectionFacts?
    /// Keys of which a change is a dead letter, and where the last one is.
    package var deadLetters: [DocumentKey: EventPosition] = [:]

    package init(moment: EventPosition) { self.moment = moment }
  }

  private var mapper: Mapper
  private let rules: [Rule]
  private let plan: BucketPlan
  private let table: BucketTable
  private let part: DocumentPart
  private let knowledge: Knowledge
  private var found = Found()
  private var text = ByteWriter(capacity: 4096)
  private var obstacles: [Place: String?] = [:]

  private struct Place: Hashable {
    var rule: Int
    var namespace: [UInt8]
  }

  package init(
    _ configuration: BridgeConfiguration, _ plan: BucketPlan, _ table: BucketTable,
    _ knowledge: Knowledge
  ) {
    self.plan = plan
    self.table = table
    self.knowledge = knowledge
    part = table.part
    rules = configuration.rules
    mapper = configuration.mapper(sourceName: "")
  }

  // MARK: Documents

  /// A document that a collection holds.
  package func take(_ event: ChangeEvent) throws {
    var next = mapper.firstMatch(event)
    var count = 0
    while let match = next {
      if rules[match.rule].route.isBucket { try take(event, rule: match.rule, match: count) }
      next = mapper.nextMatch(event, after: match)
      count += 1
    }
  }

  private func take(_ event: ChangeEvent, rule index: Int, match: Int) throws {
    let rule = rules[index]
    let namespace = String(decoding: event.namespace, as: UTF8.self)
    if let why = obstacle(index, event.namespace, namespace) {
      found.notComparable[namespace] = why
      return
    }
    guard let stream = rule.streamIndex, let subject = subject(event, index) else { return }
    let key = BucketPlan.key(stream: stream, subject: subject)
    guard part.contains(key) else { return }
    let claim = table.claim(key)
    if case .claimed = claim {
      found.unequal[key] = nil
      return note(.alike, subject)
    }
    text.removeAll()
    do throws(MappingError) {
      try mapper.writeBody(rule: index, event: event, match: match, into: &text)
    } catch {
      // Such a document is a dead letter.
      return note(.unmappable, subject)
    }
    let body = try JSONValue(parsing: text.bytes, maximumDepth: DocumentFold.maximumDepth)
    guard let document = BucketPlan.document(rule, body) else {
      found.notComparable[namespace] = "rule \(rule.name) leaves the document out of its entries"
      return
    }
    found.documents &+= 1
    judge(DocumentFold.sorted(document), Candidate(key, subject, rule, stream, namespace), claim)
  }

  private func obstacle(
    _ index: Int, _ bytes: UnsafeRawBufferPointer, _ namespace: String
  ) -> String? {
    let place = Place(rule: index, namespace: Array(bytes))
    if let known = obstacles[place] { return known }
    let answer = plan.obstacle(index, in: namespace)
    obstacles[place] = .some(answer)
    return answer
  }

  private func subject(_ event: ChangeEvent, _ rule: Int) -> String? {
    text.removeAll()
    do throws(MappingError) {
      try mapper.writeSubject(rule: rule, event: event, into: &text)
      return String(decoding: text.bytes, as: UTF8.self)
    } catch {
      return nil
    }
  }

  /// A document, and where its entry should be.
  private struct Candidate {
    let key: DocumentKey
    let subject: String
    let rule: Rule
    let stream: Int
    let namespace: String

    init(
      _ key: DocumentKey, _ subject: String, _ rule: Rule, _ stream: Int, _ namespace: String
    ) {
      self.key = key
      self.subject = subject
      self.rule = rule
      self.stream = stream
      self.namespace = namespace
    }
  }

  private func judge(_ document: JSONValue, _ candidate: Candidate, _ claim: BucketTable.Claim) {
    switch claim {
    case .claimed: return
    case .absent: miss(candidate, nil)
    case .slot(.foreign): note(.foreign, candidate.subject)
    case .slot(.newer): note(.newer, candidate.subject)
    case .slot(.before): note(.before, candidate.subject)
    case .slot(.entry(let entry)):
      found.entries &+= 1
      guard let bytes = entry.body else { return miss(candidate, entry) }
      var mismatch = mismatch(.payloadMismatch, candidate.subject, candidate.rule.name, entry)
      guard let body = try? JSONValue(parsing: bytes, maximumDepth: DocumentFold.maximumDepth)
      else {
        mismatch.detail = "the entry is no JSON"
        return add(candidate.key, mismatch, candidate.stream, document)
      }
      guard let stored = BucketPlan.document(candidate.rule, body) else {
        if excuses(candidate, entry.position) { return }
        mismatch.detail = "the entry has no document"
        return add(candidate.key, mismatch, candidate.stream, document)
      }
      guard
        let difference = JSONDifference.first(
          expected: document, found: DocumentFold.sorted(stored))
      else { return }
      if excuses(candidate, entry.position) { return }
      mismatch.pointer = difference.pointer
      mismatch.detail =
        "the document at \(difference.pointer.isEmpty ? "its root" : difference.pointer): \(difference.detail)"
      add(candidate.key, mismatch, candidate.stream, document)
    }
  }

  /// There is no entry, or its key was purged.
  private func miss(_ candidate: Candidate, _ purged: BucketTable.Entry?) {
    if plan.expires(candidate.rule), purged == nil { return note(.expired, candidate.subject) }
    if excuses(candidate, purged?.position) { return }
    if plan.mayLeaveOut(candidate.rule) { return note(.dropped, candidate.subject) }
    var mismatch = mismatch(.missing, candidate.subject, candidate.rule.name, purged)
    if purged == nil {
      guard let snapshot = knowledge.snapshot,
        snapshot.selection.readsAll(of: candidate.namespace, rules)
      else {
        found.beforeBridge &+= 1
        return
      }
      mismatch.detail = "there is a document, and no entry of it"
    } else {
      mismatch.detail = "there is a document, and its key was purged"
    }
    add(candidate.key, mismatch, candidate.stream, nil)
  }

  /// Whether something else explains a difference, which is noted.
  private func excuses(_ candidate: Candidate, _ position: EventPosition?) -> Bool {
    if let letter = knowledge.deadLetters[candidate.key], position.map({ letter > $0 }) ?? true {
      note(.deadLetters, candidate.subject)
      return true
    }
    guard let facts = knowledge.facts else { return false }
    if let silent = facts.silent[candidate.key], position.map({ silent > $0 }) ?? true {
      note(.silent, candidate.subject)
      return true
    }
    let since =
      position
      ?? knowledge.snapshot.map { EventPosition(entry: $0.position, index: 0) }
      ?? knowledge.moment
    // Documents that came or went with their collection have no events.
    guard since.entry < facts.since || facts.first(of: candidate.namespace, after: since) != nil
    else { return false }
    note(.collections, candidate.subject)
    return true
  }

  // MARK: Entries

  /// All documents were taken.
  package func finish() -> Found {
    for (key, entry) in table.unclaimed { judge(extra: entry, key) }
    return found
  }

  /// An entry that no document has.
  private func judge(extra entry: BucketTable.Entry, _ key: DocumentKey) {
    guard let index = rules.firstIndex(where: { $0.name.isSame(as: entry.rule) }),
      rules[index].route.isBucket, let stream = rules[index].streamIndex
    else { return }
    let rule = rules[index]
    let one = plan.namespace(rule, entry.body)
    if let why = plan.obstacle(index, in: one) {
      // A collection that holds nothing has told no reason yet.
      found.notComparable[one ?? "rule \(rule.name) without a document"] = why
      return
    }
    found.entries &+= 1
    if let letter = knowledge.deadLetters[key], letter > entry.position {
      return note(.deadLetters, entry.subject)
    }
    if let facts = knowledge.facts {
      // Nothing purges the keys of what was dropped or renamed as a whole.
      let isOther = facts.changes.contains { change in
        change.position > entry.position
          && (one.map(change.change.touches) ?? change.change.touches(rule.namespace))
      }
      if let silent = facts.silent[key], silent > entry.position {
        return note(.silent, entry.subject)
      }
      if isOther || entry.position.entry < facts.since {
        return note(.collections, entry.subject)
      }
    }
    var mismatch = mismatch(.extra, entry.subject, rule.name, entry)
    mismatch.detail = "there is an entry, and no document of its key"
    add(key, mismatch, stream, nil)
  }

  // MARK: What is found

  private func mismatch(
    _ kind: MismatchClass, _ subject: String, _ rule: String, _ entry: BucketTable.Entry?
  ) -> Mismatch {
    Mismatch(
      kind: kind, id: subject, position: entry?.position, rule: rule, subject: subject, stream: "",
      sequence: entry?.sequence, detail: "")
  }

  private func add(
    _ key: DocumentKey, _ mismatch: Mismatch, _ stream: Int, _ wanted: JSONValue?
  ) {
    guard found.unequal.count < StateJudge.mostUnequal else {
      found.tooMany = true
      return
    }
    found.unequal[key] = Difference(
      mismatch: mismatch, stream: stream, wanted: wanted.map { $0.text().hashValue })
  }

  private func note(_ why: Undecided, _ subject: String) {
    found.undecided[why, default: StateJudge.Tally()].note(subject)
  }
}
