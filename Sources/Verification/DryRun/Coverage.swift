import Bridge
import Mapping
import Oplog

/// What a configuration would make of the changes that a dry run has seen. A pure value.
struct Coverage: Sendable {
  struct Rule: Sendable {
    var name: String
    var stream: String
    /// Events it took.
    var matched: UInt64 = 0
    var messages: UInt64 = 0
    var invalid: UInt64 = 0
    /// Updates of which nothing is left.
    var filtered: UInt64 = 0
    /// Of messages: subject, headers and body.
    var bytes: UInt64 = 0
    var largest = 0
    var largestAt: EventPosition?
    /// Hashes of subjects, no more than `mostSubjects`.
    var subjects: Set<UInt64> = []
    /// By what is wrong, in the order of their first appearance.
    var causes: [Cause] = []
    /// Invalid events whose cause is none of `causes`, since those are too many.
    var otherCauses: UInt64 = 0
  }

  /// Invalid events with the same fault.
  struct Cause: Sendable {
    var code: String
    /// What is the same in all of them: the schema's keywords, or the sentence.
    var key: String
    /// The first one's words.
    var example: String
    var first: EventPosition
    var count: UInt64
  }

  struct Namespace: Sendable {
    var events: UInt64 = 0
    var unmatched: UInt64 = 0
  }

  static let mostSubjects = 100_000
  static let mostCauses = 50
  static let mostNamespaces = 1_000

  var rules: [Rule]
  /// By name; those beyond `mostNamespaces` together under `…`.
  var namespaces: [String: Namespace] = [:]
  var entries: UInt64 = 0
  var events: UInt64 = 0
  var unmatched: UInt64 = 0
  var first: OplogPosition?
  var last: OplogPosition?
  /// Events at which the bridge would stop.
  var halts: UInt64 = 0
  /// Transactions that began before the range, and commit in it.
  var cutTransactions: UInt64 = 0

  init(rules: [Rule]) { self.rules = rules }

  mutating func note(event: borrowing ChangeEvent, isMatched: Bool) {
    events &+= 1
    var name = String(decoding: event.namespace, as: UTF8.self)
    if namespaces[name] == nil, namespaces.count >= Self.mostNamespaces { name = "…" }
    namespaces[name, default: Namespace()].events &+= 1
    if !isMatched {
      unmatched &+= 1
      namespaces[name, default: Namespace()].unmatched &+= 1
    }
  }

  mutating func note(rule: Int, subject: UInt64, size: Int, at position: EventPosition) {
    rules[rule].matched &+= 1
    rules[rule].messages &+= 1
    rules[rule].bytes &+= UInt64(size)
    if size > rules[rule].largest {
      rules[rule].largest = size
      rules[rule].largestAt = position
    }
    if rules[rule].subjects.count < Self.mostSubjects { rules[rule].subjects.insert(subject) }
  }

  mutating func note(filteredBy rule: Int) {
    rules[rule].matched &+= 1
    rules[rule].filtered &+= 1
  }

  mutating func note(rule: Int, _ error: MappingError, at position: EventPosition) {
    rules[rule].matched &+= 1
    rules[rule].invalid &+= 1
    let key = Self.key(error)
    let code = error.code.rawValue
    if let index = rules[rule].causes.firstIndex(where: { $0.code == code && $0.key == key }) {
      rules[rule].causes[index].count &+= 1
    } else if rules[rule].causes.count < Self.mostCauses {
      rules[rule].causes.append(
        Cause(code: code, key: key, example: error.detail, first: position, count: 1))
    } else {
      rules[rule].otherCauses &+= 1
    }
  }

  mutating func note(_ halt: MessageMaker.Halt, at position: EventPosition) {
    halts &+= 1
    // Everything else was counted when it was found.
    if case .invalid(let rule, let error) = halt, error.code == .corrupt {
      note(rule: rule, error, at: position)
    }
  }

  /// Of a schema's faults the keywords, which stand in brackets; of others the sentence, digits left
  /// out.
  static func key(_ error: MappingError) -> String {
    guard error.code == .schemaInvalid else {
      return String(error.detail.filter { !$0.isNumber })
    }
    var keywords: [Substring] = []
    for part in error.detail.split(separator: "; ") {
      guard part.last == ")", let open = part.lastIndex(of: "(") else { continue }
      let keyword = part[part.index(after: open)...].dropLast()
      if !keywords.contains(keyword) { keywords.append(keyword) }
    }
    return keywords.isEmpty ? error.detail : keywords.joined(separator: " ")
  }

  /// Seconds of oplog between the first and the last entry seen; at least one.
  var seconds: Double {
    guard let first, let last else { return 1 }
    return Double(max(1, Int(last.seconds) - Int(first.seconds)))
  }
}
