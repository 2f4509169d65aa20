import Bridge
import Oplog
import Parity

/// Messages of a time when messages could be larger than now, and dead letters of one when they could not
/// be as large: the streams' `max_msg_size` and the server's `max_payload` change under a bridge. Each is
/// there in place of what is derived by today's limits.
struct OtherLimits {
  struct Key: Hashable, Sendable {
    var position: EventPosition
    var rule: Int
  }

  struct Stored: Sendable {
    var key: Key
    var observed: RunJoin.Observed
    var stream: Int
    /// The rule's stream.
    var home: Int
    /// What is derived by today's limits would be in the same stream, and is not asked for.
    var isInPlace: Bool
    /// Of a letter: what messages could have then.
    var limit: Int?

    var isLetter: Bool { observed.letter != nil }
  }

  /// Of one run.
  struct Outcome: Sendable {
    var stored: [Stored] = []
    /// Events whose messages are replayed letters.
    var replayed: Set<Key> = []
  }

  /// What was found, by the rules' streams.
  private struct Tally {
    var letters = 0
    var messages = 0
    var limits: Set<Int> = []
  }

  private var stored: [Key: Stored] = [:]
  /// By today's limits these should be there, in the dead-letter stream.
  private var missingLetters: [Key: Finding] = [:]
  private var replayed: Set<Key> = []
  private var tallies: [Int: Tally] = [:]

  mutating func add(_ outcome: Outcome) {
    for one in outcome.stored {
      if one.isInPlace { count(one) } else { stored[one.key] = one }
    }
    replayed.formUnion(outcome.replayed)
  }

  /// True: it is not missing, or that is reported at the end. Dead letters have to be judged first.
  mutating func settles(_ missing: Finding) -> Bool {
    guard let rule = missing.rule, let position = missing.mismatch.position else { return false }
    let key = Key(position: position, rule: rule)
    if missing.isTooLarge {
      missingLetters[key] = missing
      return true
    }
    guard let letter = stored[key], letter.isLetter else { return false }
    stored[key] = nil
    count(letter)
    return true
  }

  private mutating func count(_ one: Stored) {
    if one.isLetter {
      tallies[one.home, default: Tally()].letters += 1
      if let limit = one.limit { tallies[one.home]?.limits.insert(limit) }
    } else {
      tallies[one.home, default: Tally()].messages += 1
    }
  }

  /// What is wrong after all: messages beside the letter that replaces them, and letters beside their
  /// messages; and letters that are missing.
  ///
  /// - Parameter isHeld: whether the stream still has messages of that position.
  mutating func finish(
    isHeld: (Int, EventPosition) -> Bool
  ) -> (extra: [Stored], missing: [Finding]) {
    var extra: [Stored] = []
    for one in stored.values.sorted(by: { $0.observed.sequence < $1.observed.sequence }) {
      let isExplained =
        one.isLetter
        ? replayed.contains(one.key) || !isHeld(one.home, one.key.position)
        : missingLetters.removeValue(forKey: one.key) != nil
      if isExplained { count(one) } else { extra.append(one) }
    }
    let missing = missingLetters.values.sorted { ($0.mismatch.id) < ($1.mismatch.id) }
    stored = [:]
    missingLetters = [:]
    return (extra, missing)
  }

  /// - Parameter name: of a stream.
  func notes(name: (Int) -> String, limit: (Int) -> Int) -> [String] {
    tallies.sorted { $0.key < $1.key }.flatMap { home, tally in
      var notes: [String] = []
      if tally.letters > 0 {
        let then = tally.limits.sorted().map(String.init).joined(separator: ", ")
        notes.append(
          "stream \(name(home)): \(tally.letters) messages are dead letters (payload_too_large) by a limit of \(then) bytes at that time; it is \(limit(home)) now (the server's max_payload, or the stream's max_msg_size or max_bytes)"
        )
      }
      if tally.messages > 0 {
        notes.append(
          "stream \(name(home)): \(tally.messages) messages are larger than the limit of now, \(limit(home)) bytes (the server's max_payload, or the stream's max_msg_size or max_bytes), which was another when they were published"
        )
      }
      return notes
    }
  }
}
