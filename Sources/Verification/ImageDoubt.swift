import Bridge
import BridgeConfiguration
import Mapping
import Oplog
import Parity

/// What can't be told of an event any more, because a document that its messages were made with can't be
/// read again as it was then: whether a rule took it, whether it became a message or a dead letter, and
/// of that message whatever comes from the document.
struct ImageDoubt: Sendable {
  private struct Candidate: Sendable {
    var match: PossibleMatch
    /// How many of the others come before it.
    var number: Int
    /// It is given the document.
    var reads: Bool
    /// It leaves out what it can't make a message of.
    var drops: Bool
  }
  /// Rules that may have taken the event, in their order.
  private var candidates: [Candidate] = []
  /// That of an event which no rule takes may be there.
  private let mayBeUnmatched: Bool
  let lacked: Mapper.WantedImages
  /// Rules of which a message or dead letter is derived now; nil for the letter of an event that none takes.
  var derived: Set<Int?> = []

  /// Nil where everything can be told.
  init?(_ event: ChangeEvent, _ configuration: BridgeConfiguration, _ maker: inout MessageMaker) {
    lacked = maker.lackedImages(event)
    guard !lacked.isEmpty else { return nil }
    let matches = maker.possibleMatches(event, lacking: lacked)
    mayBeUnmatched =
      configuration.unmatched == .deadLetter && matches.allSatisfy(\.mayNotMatch)
    for (number, match) in matches.enumerated() {
      let rule = configuration.rules[match.rule]
      if !match.isUndecided, maker.skips(event, rule: match.rule) { continue }
      candidates.append(
        Candidate(
          match: match, number: number,
          reads: (lacked.contains(.after) && rule.fullDocument != .off)
            || (lacked.contains(.before) && rule.fullDocumentBeforeChange != .off),
          drops: rule.onInvalid == .drop))
    }
  }

  /// Those that it concerns, in their order; nil: the dead letter of an event that no rule takes.
  var open: [Int?] {
    candidates.map(\.match.rule).filter { concerns($0) } + (mayBeUnmatched ? [nil] : [])
  }

  private func candidate(_ rule: Int) -> Candidate? { candidates.first { $0.match.rule == rule } }

  /// Of the rule's match; the highest it can be, where that is open.
  func number(_ rule: Int?) -> Int { rule.flatMap { candidate($0) }?.number ?? 0 }

  /// Whether the number of the rule's match, which ids may have, depends on documents.
  func hasOpenNumber(_ rule: Int?) -> Bool {
    rule.flatMap { candidate($0) }?.match.hasOpenNumber ?? false
  }

  /// Whether the rule's message, or its dead letter, may be another one than what is derived now.
  /// `rule`: nil for the dead letter of an event that no rule takes.
  func concerns(_ rule: Int?) -> Bool {
    guard let rule else { return mayBeUnmatched }
    guard let candidate = candidate(rule) else { return false }
    return candidate.reads || candidate.match.mayNotMatch || candidate.match.hasOpenNumber
  }

  /// Whether what is derived for the rule now may rightly never have been published.
  func mayHaveVanished(_ rule: Int?) -> Bool {
    guard let rule else { return mayBeUnmatched }
    guard let candidate = candidate(rule) else { return false }
    return candidate.match.mayNotMatch || (candidate.reads && candidate.drops)
  }

  /// Whether a message or dead letter of the rule may rightly be there, although none is derived now.
  func mayExplain(_ rule: Int?) -> Bool { !derived.contains(rule) && concerns(rule) }
}

extension [DoubtfulFindings.Surplus] {
  /// The first that does not repeat another one, if there is one.
  fileprivate mutating func takeFirst() -> Element? {
    guard !isEmpty else { return nil }
    return remove(at: firstIndex { $0.surplus.repeats == nil } ?? endIndex - 1)
  }
}

/// Findings of events in doubt on all streams: a message that is in one stream and expected in another, as
/// its dead letter or the reverse, is none of either. What is left over is judged as if nothing were in doubt.
struct DoubtfulFindings {
  struct Missing {
    var finding: Finding
    var rule: Int?
    var stream: Int
    var doubt: ImageDoubt
  }
  struct Surplus {
    var surplus: RunJoin.Surplus
    var position: EventPosition
    var rule: Int?
    var stream: Int
    var doubt: ImageDoubt
    /// It is wrong in itself, which has been told.
    var isTold = false
  }

  private var missing: [Missing] = []
  private var surplus: [Surplus] = []
  /// Events that were not compared.
  private(set) var setAside: UInt64 = 0

  var count: Int { missing.count + surplus.count }

  mutating func add(_ one: Missing) { missing.append(one) }
  mutating func add(_ one: Surplus) { surplus.append(one) }

  /// What has to be judged all the same. Nothing is kept.
  mutating func settle() -> (missing: [Missing], surplus: [Surplus]) {
    struct Key: Hashable {
      var position: EventPosition
      var rule: Int?
    }
    var stored: [Key: [Surplus]] = [:]
    for one in surplus {
      stored[Key(position: one.position, rule: one.rule), default: []].append(one)
    }
    var left: (missing: [Missing], surplus: [Surplus]) = ([], [])
    for one in missing {
      guard let position = one.finding.mismatch.position else { continue }
      let key = Key(position: position, rule: one.rule)
      if one.doubt.concerns(one.rule), let message = stored[key]?.takeFirst() {
        if !message.isTold { setAside &+= 1 }
      } else if one.doubt.mayHaveVanished(one.rule) {
        setAside &+= 1
      } else {
        left.missing.append(one)
      }
    }
    for (key, messages) in stored {
      guard let first = messages.first else { continue }
      // A rule has one message of an event, or one letter: more of them are too many.
      let isExplained = first.surplus.repeats == nil && first.doubt.mayExplain(key.rule)
      if isExplained, !first.isTold { setAside &+= 1 }
      left.surplus += messages.dropFirst(isExplained ? 1 : 0)
    }
    left.surplus.sort { $0.surplus.observed.sequence < $1.surplus.observed.sequence }
    missing = []
    surplus = []
    return left
  }
}
