import Bridge
import Oplog
import SimulatedJetStream

/// Compares one stream with the truth, message by message, as they are stored.
struct StreamJudge {
  let index: Int
  let name: String
  let isExclusive: Bool
  /// It may be published to by a chain, whose messages are on their way one behind another.
  let isChain: Bool
  /// Operators, limits or consumers take messages out of it.
  let isEmptied: Bool
  /// A bucket's: a key's value is its last message.
  let isBucket: Bool
  /// In nanoseconds: what is older need not be published again.
  let maxAge: Int64?
  /// How many of the expected messages are known to have been stored.
  private(set) var stored = 0
  /// The most that ever were.
  private(set) var everStored = 0
  /// Messages that were stored twice where nobody can know better.
  private(set) var repeated = 0
  /// Expected messages that were not stored again, being older than the stream keeps them.
  private(set) var leftOut = 0
  /// When the last of our messages was stored.
  private(set) var movedAt: Int64 = 0
  /// Who published the last of our messages (`Publishers`), …
  private(set) var origin = 0
  /// … and how often that was another process than the one before.
  private(set) var handovers = 0

  /// The last sequence that was looked at.
  private var through: UInt64 = 0
  private var created: Int64?
  /// Stored and not looked at.
  private var arrived: [(created: Int64, message: StoredMessage)] = []
  /// Of the message before: its entry, its batch, and how many messages of that there were.
  private var batch: (entry: OplogPosition, id: [UInt8], count: Int)?
  /// What the server takes in one.
  private static let mostInBatch = 1000
  /// The stream has lost what it held, as a whole or its end.
  private var hasLost = false
  /// When that was seen last.
  private(set) var lostAt = Int64.min / 2
  /// Expected messages that are stored ahead of those before them: a bridge publishes on into a stream that somebody
  /// has made again, before it notices.
  private var early: Set<Int> = []
  private(set) var hadEarly = false
  /// It notices within so many nanoseconds.
  private static let unnoticed = 15 * Nano.second
  /// When each of the expected messages was first stored; of streams that are emptied.
  private var storedAt: [Int64] = []
  /// When the servers forgot the ids of messages that are gone.
  private var forgotAt = Int64.min
  /// Of a bucket, what each key holds.
  private var values: [String: EventPosition] = [:]
  /// What follows a repeated message, while it is an earlier one.
  private var afterRepeated: Int?

  init(
    _ index: Int, _ name: String, isExclusive: Bool, isChain: Bool, isEmptied: Bool,
    isBucket: Bool, maxAge: Int64?
  ) {
    self.isBucket = isBucket
    self.isChain = isChain
    self.index = index
    self.name = name
    self.isExclusive = isExclusive
    self.isEmptied = isEmptied
    self.maxAge = maxAge
  }

  /// The stream stores a message.
  mutating func arrive(_ message: StoredMessage, created: Int64) {
    arrived.append((created, message))
  }

  /// Servers restart, or another one leads: ids of messages that are gone are forgotten.
  mutating func forgetIDs(at now: Int64) { forgotAt = now }

  /// Looks at what was stored since the last time; what is wrong with it, or nil.
  ///
  /// - Parameter claimed: what the newest checkpoint says is settled.
  mutating func look(
    at stream: SimulatedStream, _ truth: Truth, bridge: String, _ publishers: Publishers,
    now: Int64, claimed: EventPosition?
  ) -> String? {
    if created != stream.created {
      if created != nil {
        hasLost = true
        lostAt = now
      }
      early = []
      created = stream.created
      through = 0
      stored = 0
      afterRepeated = nil
      batch = nil
      origin = 0
    }
    if stream.store.lastSequence < through {
      hasLost = true
      rewind(stream, truth, bridge: bridge)
    }
    let messages = arrived
    arrived.removeAll(keepingCapacity: true)
    for (created, message) in messages
    where created == stream.created && message.sequence > through
      && message.sequence <= stream.store.lastSequence
    {
      let before = stored + repeated
      if let wrong = take(message, truth, bridge: bridge, now: now, claimed) {
        return "\(wrong) (\(publishers.text(message.origin, after: origin)))"
      }
      // Others' messages are no progress of this bridge.
      guard stored + repeated > before else { continue }
      movedAt = now
      if let wrong = follow(message, publishers) { return wrong }
    }
    through = max(through, stream.store.lastSequence)
    // Operators purge, and servers lose.
    for key in values.keys {
      values[key] = stream.store.last(on: key).flatMap {
        truth.own($0, isExclusive: isExclusive, bridge: bridge)?.position
      }
    }
    return nil
  }

  /// Epochs of leadership never interleave.
  private mutating func follow(_ message: StoredMessage, _ publishers: Publishers) -> String? {
    defer { origin = message.origin }
    if let last = publishers[origin], let next = publishers[message.origin],
      next.process != last.process
    {
      handovers += 1
    }
    guard let objection = publishers.objection(to: message.origin, after: origin),
      !continues(message, publishers)
    else { return nil }
    return "\(name) \(message.sequence) \(objection)"
  }

  /// What a chain's publisher sent while it led can arrive behind the same message of its successor that it would have
  /// followed, and be stored: it is the very one that comes next, as `take` has seen.
  private func continues(_ message: StoredMessage, _ publishers: Publishers) -> Bool {
    guard isExclusive, isChain, let publisher = publishers[message.origin] else { return false }
    return publisher.epoch != nil && !publisher.isReplaced
  }

  private mutating func take(
    _ message: StoredMessage, _ truth: Truth, bridge: String, now: Int64, _ claimed: EventPosition?
  ) -> String? {
    guard let found = truth.own(message, isExclusive: isExclusive, bridge: bridge) else {
      return nil
    }
    if isBucket {
      if let value = values[message.subject], found.position < value {
        return
          "\(name) \(message.sequence): \(found.position) replaces \(value) of \(message.subject), which is newer"
      }
      values[message.subject] = found.position
    }
    let expected = truth.messages[index]
    if let place = truth.place(of: found.position, in: index), place != stored,
      expected[place].fingerprint == found.fingerprint,
      place < stored
        ? mayRepeat(place, found.position, claimed) : areTooOld(stored..<place, truth, now)
    {
      if place < stored {
        repeated += 1
        afterRepeated = place + 1
        return nil
      }
      leftOut += place - stored
      stored = place
    }
    if Scenario.choice.makesAgain, !isExclusive, hasLost,
      let place = truth.place(of: found.position, in: index),
      place > stored,
      expected[place].fingerprint == found.fingerprint, !early.contains(place),
      now - lostAt < Self.unnoticed
    {
      early.insert(place)
      hadEarly = true
      return nil
    }
    guard stored < expected.count, expected[stored].position == found.position,
      expected[stored].fingerprint == found.fingerprint
    else {
      return "\(name) \(message.sequence): \(misplaced(found, truth))"
    }
    defer {
      stored += 1
      while early.remove(stored) != nil { stored += 1 }
      everStored = max(everStored, stored)
      afterRepeated = nil
      if isEmptied {
        while storedAt.count < stored { storedAt.append(now) }
      }
    }
    guard let id = Self.batchID(message.headers) else {
      batch = nil
      return nil
    }
    let isSame = batch?.id == id
    let isWhole = expected[stored].isWhole
    defer { batch = (found.position.entry, id, isSame ? (batch?.count ?? 0) + 1 : 1) }
    guard let batch, isWhole, batch.entry == found.position.entry, !isSame,
      batch.count < Self.mostInBatch
    else { return nil }
    return
      "\(name) \(message.sequence): \(found.position) is in another batch than the transaction's message before"
  }

  private func misplaced(
    _ found: (position: EventPosition, fingerprint: UInt64), _ truth: Truth
  ) -> String {
    let expected = truth.messages[index]
    guard let known = truth.place(of: found.position, in: index) else {
      return "\(found.position) is nothing that was committed"
    }
    guard expected[known].fingerprint == found.fingerprint else {
      return "\(found.position) has other contents"
    }
    if known < stored { return "\(found.position) is stored a second time" }
    return "holds \(found.position), expected \(expected[stored].position) (number \(stored))"
  }

  // MARK: - What nobody can know better

  /// Whether a message may be stored twice: it was gone, and nothing tells of it any more. Docs: "What nobody can
  /// count".
  private func mayRepeat(_ place: Int, _ position: EventPosition, _ claimed: EventPosition?) -> Bool
  {
    guard isEmptied else { return false }
    if afterRepeated == place { return true }
    guard claimed.map({ position >= $0 }) ?? true else { return false }
    // On an exclusive stream the sequence counts, or the server knows the id.
    return !isExclusive || (place < storedAt.count && storedAt[place] <= forgotAt)
  }

  /// Whether the stream wouldn't hold these messages any more. Of changes' times seconds are known.
  private func areTooOld(_ places: Range<Int>, _ truth: Truth, _ now: Int64) -> Bool {
    guard hasLost, maxAge != nil else { return false }
    return places.allSatisfy { isTooOld(truth.messages[index][$0].position, now) }
  }

  private func isTooOld(_ position: EventPosition, _ now: Int64) -> Bool {
    guard let maxAge else { return false }
    let written = Int64(position.entry.seconds) * Nano.second - World.epoch
    return now - written > maxAge - 3 * Nano.second
  }

  /// The first expected message that the stream never had, or lost and should get back.
  func firstMissing(_ truth: Truth, _ now: Int64) -> Int? {
    let messages = truth.messages[index]
    guard hasLost, maxAge != nil else { return stored < messages.count ? stored : nil }
    return (stored..<messages.count).first { !isTooOld(messages[$0].position, now) }
  }

  /// Of an atomic batch.
  private static func batchID(_ headers: [UInt8]) -> [UInt8]? {
    let name = Array("Nats-Batch-Id: ".utf8)
    var at = 0
    while at + name.count < headers.count {
      guard let end = headers[at...].firstIndex(of: 13) else { return nil }
      if headers[at..<end].starts(with: name) { return Array(headers[(at + name.count)..<end]) }
      at = end + 2
    }
    return nil
  }

  /// The stream has lost its newest messages: what is before them counts.
  private mutating func rewind(_ stream: SimulatedStream, _ truth: Truth, bridge: String) {
    through = stream.store.lastSequence
    stored = 0
    afterRepeated = nil
    batch = nil
    origin = 0
    var sequence = through
    while sequence >= max(stream.store.firstSequence, 1) {
      if let message = stream.store[sequence],
        let found = truth.own(message, isExclusive: isExclusive, bridge: bridge)
      {
        if let place = truth.place(of: found.position, in: index),
          truth.messages[index][place].fingerprint == found.fingerprint
        {
          stored = place + 1
        }
        origin = message.origin
        return
      }
      sequence -= 1
    }
  }
}
