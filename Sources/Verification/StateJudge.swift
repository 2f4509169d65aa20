import BSON
package import Bridge
package import BridgeConfiguration
import JSON
import Mapping
package import Oplog
package import Parity

/// Compares documents of collections, in the shape that the rules give, with what messages make of them.
/// Owned by one event loop.
package final class StateJudge: DocumentJudge {
  /// What only one of the two, or neither, can tell.
  package enum Undecided: Hashable, Sendable {
    /// A path in an update can be read in several ways.
    case paths
    /// Updates change a part of what the rule shows as a whole, or not all of.
    case hidden
    /// A change of the document is a dead letter.
    case deadLetters
    /// Two of its fields may have had one name, and one of them is gone.
    case names
    /// The rule can't show the document as it is now, which updates have made so.
    case unmappable
    /// Why it has no message of the last snapshot.
    case snapshots
    /// It was changed without an event.
    case silent
    /// Its collection may have been dropped or renamed where the oplog does not reach any more.
    case collections
  }

  package struct Tally: Sendable {
    package var count: UInt64 = 0
    package var example: String?

    mutating func note(_ key: DocumentKey) {
      count += 1
      example = example ?? key.description
    }

    mutating func note(_ subject: String) {
      count += 1
      example = example ?? subject
    }

    mutating func absorb(_ other: Tally) {
      count += other.count
      example = example ?? other.example
    }
  }

  package struct Found: Sendable {
    package var documents: UInt64 = 0
    package var folded: UInt64 = 0
    /// Not changed since the bridge began, which published no snapshot.
    package var beforeBridge: UInt64 = 0
    /// At most `mostUnequal`.
    package var unequal: [DocumentKey: Mismatch] = [:]
    package var streams: [DocumentKey: Int] = [:]
    var tooMany = false
    /// Documents whose keys look the same in messages.
    package var alike = Tally()
    package var undecided: [Undecided: Tally] = [:]
    /// By namespace: why it is not compared.
    package var notFoldable: [String: String] = [:]

    package init() {}

    fileprivate mutating func add(_ key: DocumentKey, _ stream: Int, _ mismatch: Mismatch) {
      guard unequal.count < StateJudge.mostUnequal || unequal[key] != nil else {
        tooMany = true
        return
      }
      unequal[key] = mismatch
      streams[key] = stream
    }
  }

  /// What is known besides messages and documents.
  package struct Knowledge: Sendable {
    /// The last snapshot, if it is over.
    package var snapshot: Checkpoint.Snapshot?
    /// The moment that documents are compared at.
    package var moment: EventPosition
    package var facts: CollectionFacts?
    /// Documents of which a change is a dead letter, and where the last one is.
    package var deadLetters: [DocumentKey: EventPosition] = [:]

    package init(moment: EventPosition) { self.moment = moment }
  }

  static let mostUnequal = 100_000

  private var mapper: Mapper
  private let rules: [Rule]
  private let plan: FoldPlan
  private let fold: StateFold
  private let part: DocumentPart
  private let knowledge: Knowledge
  /// By the namespace's bytes.
  private var answers: [[UInt8]: FoldPlan.Answer] = [:]
  package private(set) var found = Found()
  private var body = ByteWriter(capacity: 4096)

  package init(
    _ configuration: BridgeConfiguration, _ plan: FoldPlan, _ fold: StateFold,
    _ knowledge: Knowledge
  ) {
    self.plan = plan
    self.fold = fold
    self.knowledge = knowledge
    part = fold.part
    rules = configuration.rules
    mapper = configuration.mapper(sourceName: "")
  }

  private func answer(_ namespace: String) -> FoldPlan.Answer {
    let name = Array(namespace.utf8)
    if let known = answers[name] { return known }
    let answer = plan.answer(namespace)
    answers[name] = answer
    return answer
  }

  /// A document that a collection holds.
  package func take(_ event: ChangeEvent) throws {
    let namespace = String(decoding: event.namespace, as: UTF8.self)
    let stream: Int
    switch answer(namespace) {
    case .foldable(let index): stream = index
    case .inBucket: return
    case .not(let why):
      found.notFoldable[namespace] = why
      return
    }
    var next = mapper.firstMatch(event)
    var place = 0
    while let beside = next, rules[beside.rule].isBesideOthers {
      next = mapper.nextMatch(event, after: beside)
      place += 1
    }
    guard let match = next else { return }
    let rule = match.rule
    body.removeAll()
    do throws(MappingError) {
      if !match.isDecided { throw Mapper.undecided }
      try mapper.writeBody(rule: rule, event: event, match: place, into: &body)
    } catch {
      // Such a document is a dead letter, not a message. Updates are messages that make one such.
      if let key = plan.key(of: event, rule: rule, &mapper) { pass(over: key) }
      return
    }
    let shown = FoldPlan.event(
      try JSONValue(parsing: body.bytes, maximumDepth: DocumentFold.maximumDepth))
    guard let documentKey = shown["documentKey"] else { return }
    let key = DocumentKey(
      namespace: namespace, key: documentKey, isTyped: plan.showsTypes(rules[rule]))
    guard part.contains(key) else { return }
    found.documents &+= 1
    judge(
      key, shown["fullDocument"], rules[rule].name, stream,
      hasDottedNames: { event.fullDocument.map(Self.hasDottedNames) ?? false })
  }

  /// What messages make of the document is not compared.
  private func pass(over key: DocumentKey) {
    guard part.contains(key) else { return }
    switch fold.claim(key) {
    case .document(let folded):
      if !folded.texts.isEmpty { found.undecided[.unmappable, default: Tally()].note(key) }
    case .absent: break
    case .claimed:
      found.alike.note(key)
      found.unequal[key] = nil
    }
  }

  /// Names with dots may look like the inside of a redacted value, and are shown as that.
  private static func hasDottedNames(_ view: BSONView) -> Bool {
    var walk = view.elements()
    while let element = try? walk.next() {
      if element.key.contains(UInt8(ascii: ".")) { return true }
      if let inner = element.document, hasDottedNames(inner) { return true }
    }
    return false
  }

  private func judge(
    _ key: DocumentKey, _ document: JSONValue?, _ rule: String, _ stream: Int,
    hasDottedNames: () -> Bool
  ) {
    // Nearly always nobody asks for it.
    lazy var mismatch = Mismatch(
      kind: .missing, id: key.description, position: nil, rule: rule, subject: key.namespace,
      stream: "", sequence: nil, detail: "no message tells of this document")
    let folded: DocumentTable.Document
    switch fold.claim(key) {
    case .document(let document): folded = document
    case .absent:
      miss(key, mismatch, stream)
      return
    case .claimed:
      // What the messages made of it may be either.
      found.alike.note(key)
      found.unequal[key] = nil
      return
    }
    guard !folded.texts.isEmpty else {
      if folded.isDoubtful || folded.mayBeTwo {
        found.alike.note(key)
      } else {
        mismatch.position = folded.position
        mismatch.sequence = folded.sequence
        mismatch.detail = "messages tell of changes of this document, and none of the document"
        miss(key, mismatch, stream)
      }
      return
    }
    found.folded &+= 1
    guard let document else { return }
    let wanted = DocumentFold.sorted(document)
    var first: (pointer: String, detail: String)?
    // What is masked may be a field's whose name looks like the inside of another.
    var isOfMask = false
    for text in folded.texts {
      guard let made = try? JSONValue(parsing: text, maximumDepth: DocumentFold.maximumDepth),
        let difference = JSONDifference.first(expected: wanted, found: DocumentFold.sorted(made))
      else {
        // Which of the readings is right is not known, even if this one fits.
        if folded.texts.count > 1 { found.undecided[.paths, default: Tally()].note(key) }
        demandSnapshot(of: key, folded, mismatch, stream)
        return
      }
      first = first ?? difference
      if made.value(at: difference.pointer)?.isMask ?? false, folded.isMasked { isOfMask = true }
      if wanted.value(at: difference.pointer)?.isMask ?? false,
        folded.isMasked || hasDottedNames()
      {
        isOfMask = true
      }
    }
    guard let first else { return }
    if folded.isDoubtful { return found.alike.note(key) }
    var undecided: Undecided?
    if folded.hasMoreReadings, folded.hasDottedNames || document.hasDottedNames {
      undecided = .paths
    } else if excuses(key, folded) {
      return demandSnapshot(of: key, folded, mismatch, stream)
    } else if folded.hasLostOneOfTwo, isOfGivenName(first.pointer) {
      undecided = .names
    } else if isOfMask {
      undecided = .hidden
    }
    if let undecided {
      found.undecided[undecided, default: Tally()].note(key)
      // Whatever its updates made of it: a snapshot has to have it.
      demandSnapshot(of: key, folded, mismatch, stream)
      return
    }
    mismatch.kind = .payloadMismatch
    mismatch.position = folded.position
    mismatch.sequence = folded.sequence
    mismatch.pointer = first.pointer
    mismatch.detail =
      "the document at \(first.pointer.isEmpty ? "its root" : first.pointer): \(first.detail)"
    found.add(key, stream, mismatch)
  }

  /// Whether the difference is in a field whose name the rule gives to another as well.
  private func isOfGivenName(_ pointer: String) -> Bool {
    let names = plan.givenNames
    return pointer.split(separator: "/").contains {
      names.contains(String($0.replacing("~1", with: "/").replacing("~0", with: "~")))
    }
  }

  /// Reports a document that the last snapshot should have repeated, and did not, although other messages
  /// make it what it is: consumers drop such a document.
  private func demandSnapshot(
    of key: DocumentKey, _ folded: DocumentTable.Document, _ mismatch: @autoclosure () -> Mismatch,
    _ stream: Int
  ) {
    let namespace = key.namespace
    guard let snapshot = snapshot(of: namespace) else { return }
    switch fold.demand(folded, namespace, snapshot: snapshot) {
    case .none: return
    case .missing where folded.isDoubtful:
      // Two documents, or one whose collection was dropped in between: the oplog tells.
      found.alike.note(key)
      return
    case .open where folded.isDoubtful: return
    case .missing:
      if let letter = knowledge.deadLetters[key], letter.entry >= snapshot { break }
      if plan.mayLeaveOut(namespace) { break }
      switch obstacle(namespace, folded) {
      case .notReadable(let why):
        found.notFoldable[namespace] = why
        return
      case .notTold:
        found.undecided[.collections, default: Tally()].note(key)
        return
      case nil: break
      }
      var mismatch = mismatch()
      mismatch.detail =
        "no message of the last snapshot, at \(snapshot), tells of this document, which was there before"
      found.add(key, stream, mismatch)
      return
    case .open: break
    }
    found.undecided[.snapshots, default: Tally()].note(key)
  }

  /// No message tells of the document as a whole.
  private func miss(_ key: DocumentKey, _ mismatch: Mismatch, _ stream: Int) {
    guard fold.isComplete(key.namespace, snapshot: snapshot(of: key.namespace)) else {
      found.beforeBridge &+= 1
      return
    }
    if !excuses(key, nil) { found.add(key, stream, mismatch) }
  }

  /// The sequence of the last snapshot, if it is of every document of the collection.
  private func snapshot(of namespace: String) -> OplogPosition? {
    knowledge.snapshot.flatMap {
      $0.selection.readsAll(of: namespace, rules) ? $0.position : nil
    }
  }

  private enum Reach {
    case notReadable(String)
    /// The oplog does not reach back far enough, and no message tells.
    case notTold
  }

  /// Why nothing can be said of the collection's documents; nil where something can.
  private func obstacle(_ namespace: String, _ folded: DocumentTable.Document?) -> Reach? {
    guard let facts = knowledge.facts else { return nil }
    if let change = facts.first(of: namespace, after: knowledge.moment) {
      return .notReadable(
        "it was dropped, made or renamed at \(change.position.entry), and the bridge has not come further than \(knowledge.moment.entry): it can't be read any more as it was then"
      )
    }
    if let folded, folded.position.entry < facts.since, !plan.tellsOfCollection(namespace) {
      return .notTold
    }
    return nil
  }

  /// Whether something else explains why document and messages differ, which is noted.
  private func excuses(_ key: DocumentKey, _ folded: DocumentTable.Document?) -> Bool {
    let reach = obstacle(key.namespace, folded)
    if case .notReadable(let why) = reach {
      found.notFoldable[key.namespace] = why
      return true
    }
    var undecided: Undecided?
    if let letter = knowledge.deadLetters[key], letter > folded?.shownAt ?? .first {
      undecided = .deadLetters
    } else if let written = knowledge.facts?.silent[key], written > folded?.shownAt ?? .first {
      undecided = .silent
    } else if folded?.isUndecided ?? false {
      undecided = .hidden
    } else if reach != nil {
      undecided = .collections
    }
    guard let undecided else { return false }
    found.undecided[undecided, default: Tally()].note(key)
    return true
  }

  /// All documents were taken.
  package func finish() -> Found {
    for (key, document) in fold.unclaimed {
      let namespace = key.namespace
      guard case .foldable(let stream) = answer(namespace) else {
        if case .not(let why) = answer(namespace) { found.notFoldable[namespace] = why }
        continue
      }
      if document.isDoubtful {
        found.alike.note(key)
        continue
      }
      // Changes of a document that was there before the bridge, and is gone: nothing to be said. Nor of what
      // messages show twice and end: if they were two documents, the collection would hold the other.
      guard !document.texts.isEmpty else { continue }
      if excuses(key, document) { continue }
      found.add(
        key, stream,
        Mismatch(
          kind: .extra, id: key.description, position: document.position, rule: document.rule,
          subject: namespace, stream: "", sequence: document.sequence,
          detail: "messages tell of a document that the collection does not hold"))
    }
    return found
  }
}

extension EventPosition {
  fileprivate static let first = EventPosition(
    entry: OplogPosition(seconds: 0, increment: 0), index: 0)
}
