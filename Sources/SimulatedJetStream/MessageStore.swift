/// A message as a stream holds it.
public struct StoredMessage: Sendable, Equatable {
  public var sequence: UInt64
  public var subject: String
  /// The whole block, with its version line; empty where there is none.
  public var headers: [UInt8]
  public var payload: [UInt8]
  /// When it was stored, in nanoseconds.
  public var time: Int64
  /// Of the `Publication`. Nothing that a server keeps.
  public var origin = 0
}

/// A stream's messages, within its limits.
public struct MessageStore: Sendable {
  private var slots: [StoredMessage?] = []
  private var head = 0
  private var bySubject: [String: SequenceList] = [:]
  /// 0 while a new stream never had a message.
  public private(set) var firstSequence: UInt64 = 0
  public private(set) var lastSequence: UInt64 = 0
  public private(set) var count = 0
  public private(set) var bytes: Int64 = 0
  /// When the last message was stored, whether it is still there or not.
  public private(set) var lastTime: Int64?
  /// Messages that were ever stored here, and taken away.
  private(set) var appends: UInt64 = 0
  private(set) var removals: UInt64 = 0
  var limits: StreamConfiguration

  public init(_ limits: StreamConfiguration) {
    self.limits = limits
    if limits.firstSequence > 0 {
      firstSequence = limits.firstSequence
      lastSequence = limits.firstSequence - 1
    }
  }

  public var subjectCount: Int { bySubject.count }
  /// Sequences between the first and the last that hold no message.
  public var deletedCount: Int {
    lastSequence < firstSequence || firstSequence == 0
      ? 0 : Int(lastSequence - firstSequence + 1) - count
  }

  /// What the server counts as the message's size on disk, or in memory.
  func size(_ subject: String, _ headers: Int, _ payload: Int) -> Int64 {
    let content = subject.utf8.count + headers + payload
    if limits.storage == .memory { return Int64(content + 16) }
    return Int64(content + 30 + (headers > 0 ? 4 : 0))
  }

  private func size(_ message: StoredMessage) -> Int64 {
    size(message.subject, message.headers.count, message.payload.count)
  }

  // MARK: - Reading

  public subscript(sequence: UInt64) -> StoredMessage? {
    guard count > 0, sequence >= firstSequence, sequence <= lastSequence else { return nil }
    return slots[index(sequence)]
  }

  private func index(_ sequence: UInt64) -> Int { head + Int(sequence - firstSequence) }

  /// The last message on a subject (wildcards allowed); of all, what the last sequence holds.
  public func last(on subject: String) -> StoredMessage? {
    if let sequence = bySubject[subject]?.last { return self[sequence] }
    if subject.isEmpty || subject == ">" { return self[lastSequence] }
    guard !SubjectPattern.isLiteral(subject) else { return nil }
    var last: UInt64 = 0
    for (name, list) in bySubject where SubjectPattern.matches(subject, name) {
      last = max(last, list.last ?? 0)
    }
    return self[last]
  }

  /// The first message at or behind `sequence` on a subject (wildcards allowed).
  public func next(from sequence: UInt64, on subject: String) -> StoredMessage? {
    guard count > 0 else { return nil }
    var at = max(sequence, firstSequence)
    while at <= lastSequence {
      if let message = slots[index(at)], Self.matches(subject, message.subject) { return message }
      at += 1
    }
    return nil
  }

  private static func matches(_ pattern: String, _ subject: String) -> Bool {
    pattern == subject || pattern.isEmpty || pattern == ">"
      || SubjectPattern.matches(pattern, subject)
  }

  /// Messages at or behind `next`, on any of the subjects (wildcards allowed; none: all).
  func count(from next: UInt64, on subjects: [String]) -> Int {
    guard count > 0, next <= lastSequence else { return 0 }
    let start = max(next, firstSequence)
    if subjects.isEmpty, deletedCount == 0 { return Int(lastSequence - start + 1) }
    return slots[index(start)...].count { message in
      guard let message else { return false }
      return subjects.isEmpty || subjects.contains { Self.matches($0, message.subject) }
    }
  }

  func count(on subject: String) -> Int { bySubject[subject]?.count ?? 0 }

  /// How many messages each subject has.
  public func counts(on pattern: String) -> [String: Int] {
    bySubject.filter { Self.matches(pattern, $0.key) }.mapValues(\.count)
  }

  public var messages: [StoredMessage] { slots[head...].compactMap { $0 } }

  // MARK: - Storing

  /// Whether a message exceeds what `discard: new` allows.
  func failure(
    _ subject: String, _ headers: Int, _ payload: Int, isRollup: Bool, _ rules: ServerRules
  )
    -> Refusal.StoreFailure?
  {
    guard limits.discard == .new else { return nil }
    var replaces = false
    if limits.maxMessagesPerSubject > 0, let list = bySubject[subject],
      list.count >= limits.maxMessagesPerSubject
    {
      if limits.discardNewPerSubject, !(isRollup && rules.rollupPassesSubjectLimit) {
        return .messagesPerSubject
      }
      replaces = true
    }
    if limits.maxMessages > 0, count >= limits.maxMessages, !replaces { return .messages }
    if limits.maxBytes > 0 {
      let size = size(subject, headers, payload)
      func exceeds(_ bytes: Int64, _ limit: Int64) -> Bool {
        rules.refusesExactFit ? bytes >= limit : bytes > limit
      }
      if exceeds(bytes + size, limits.maxBytes) {
        let freed = bySubject[subject]?.first.flatMap { self[$0] }.map { self.size($0) } ?? 0
        if !replaces || exceeds(size, freed) { return .bytes }
      }
    }
    return nil
  }

  /// Stores a message behind the last one, and removes what exceeds the limits.
  mutating func append(
    _ subject: String, _ headers: [UInt8], _ payload: [UInt8], at time: Int64, from origin: Int = 0
  ) -> UInt64 {
    let sequence = lastSequence + 1
    if count == 0 {
      slots.removeAll(keepingCapacity: true)
      head = 0
      firstSequence = sequence
    }
    slots.append(
      StoredMessage(
        sequence: sequence, subject: subject, headers: headers, payload: payload, time: time,
        origin: origin))
    bySubject[subject, default: SequenceList()].append(sequence)
    count += 1
    appends += 1
    lastTime = time
    bytes += size(subject, headers.count, payload.count)
    lastSequence = sequence
    enforcePerSubject(subject)
    enforceTotals()
    return sequence
  }

  /// Counts a sequence that holds no message.
  mutating func skip() -> UInt64 {
    lastSequence += 1
    if count == 0 {
      firstSequence = lastSequence + 1
    } else {
      slots.append(nil)
    }
    return lastSequence
  }

  private mutating func enforcePerSubject(_ subject: String) {
    guard limits.maxMessagesPerSubject > 0 else { return }
    while let list = bySubject[subject], list.count > limits.maxMessagesPerSubject,
      let first = list.first
    {
      remove(first)
    }
  }

  private mutating func enforceTotals() {
    guard limits.discard == .old else { return }
    if limits.maxMessages > 0 { while count > limits.maxMessages { remove(firstSequence) } }
    if limits.maxBytes > 0 { while count > 0, bytes > limits.maxBytes { remove(firstSequence) } }
  }

  /// Takes other limits, and removes what exceeds them.
  mutating func change(_ limits: StreamConfiguration, _ rules: ServerRules) {
    let old = self.limits.maxMessagesPerSubject
    self.limits = limits
    enforceTotals()
    let new = limits.maxMessagesPerSubject
    if new > 0, new < old || (old <= 0 && rules.enforcesNewSubjectLimit) {
      for subject in Array(bySubject.keys) { enforcePerSubject(subject) }
    }
  }

  // MARK: - Removing

  @discardableResult
  mutating func remove(_ sequence: UInt64) -> Bool {
    guard let message = self[sequence] else { return false }
    slots[index(sequence)] = nil
    count -= 1
    removals += 1
    bytes -= size(message)
    bySubject[message.subject]?.remove(sequence)
    if bySubject[message.subject]?.count == 0 { bySubject[message.subject] = nil }
    if sequence == firstSequence { advanceFirst() }
    return true
  }

  private mutating func advanceFirst() {
    guard count > 0 else {
      slots.removeAll(keepingCapacity: true)
      head = 0
      firstSequence = lastSequence + 1
      return
    }
    while slots[head] == nil {
      head += 1
      firstSequence += 1
    }
    if head > 1024, head * 2 > slots.count {
      slots.removeFirst(head)
      head = 0
    }
  }

  /// Removes everything; the next message gets `next`, where that is ahead.
  mutating func removeAll(next: UInt64 = 0) -> Int {
    let removed = count
    removals += UInt64(count)
    slots = []
    head = 0
    bySubject = [:]
    count = 0
    bytes = 0
    firstSequence = max(lastSequence + 1, next)
    lastSequence = firstSequence - 1
    return removed
  }

  /// Removes what `subject` matches (empty: everything), below `below` (0: no bound) and but for the last
  /// `keep`.
  mutating func purge(_ subject: String, below: UInt64, keep: UInt64, _ rules: ServerRules) -> Int {
    if below == 1, !rules.purgesAllBelowOne { return 0 }
    let isAll = subject.isEmpty || subject == ">"
    if isAll, keep == 0, below == 0 { return removeAll() }
    if isAll, below > 1 {
      if below > lastSequence { return removeAll(next: below) }
      return removeMatching(">", through: below - 1, atMost: .max)
    }
    if isAll, limits.storage == .memory, rules.purgesAllBelowOne {
      // Old memory stores keep sequences rather than messages, and nothing is below 1 in them.
      guard keep > 0, keep < count else { return 0 }
      return removeMatching(">", through: lastSequence - keep, atMost: .max)
    }
    var most = Int.max
    if keep > 0 {
      let matching =
        isAll
        ? count
        : SubjectPattern.isLiteral(subject)
          ? count(on: subject) : counts(on: subject).values.reduce(0, +)
      guard keep < matching else { return 0 }
      most = matching - Int(keep)
    }
    let through = below > 1 ? min(below - 1, lastSequence) : lastSequence
    return removeMatching(isAll ? ">" : subject, through: through, atMost: most)
  }

  private mutating func removeMatching(_ subject: String, through: UInt64, atMost: Int) -> Int {
    guard count > 0 else { return 0 }
    var removed = 0
    if SubjectPattern.isLiteral(subject) {
      while removed < atMost, let first = bySubject[subject]?.first, first <= through {
        remove(first)
        removed += 1
      }
      return removed
    }
    var at = firstSequence
    while at <= through, removed < atMost, count > 0 {
      if let message = self[at], Self.matches(subject, message.subject) {
        remove(at)
        removed += 1
      }
      at += 1
    }
    return removed
  }

  /// Removes what is older than `max_age`.
  mutating func expire(at now: Int64) {
    guard limits.maxAge > 0 else { return }
    while count > 0, let first = slots[head], first.time + limits.maxAge <= now {
      remove(firstSequence)
    }
  }

  /// The last `messages` never came to disk.
  mutating func lose(last messages: Int) {
    for _ in 0..<messages where lastSequence >= max(firstSequence, 1) && count > 0 {
      if let message = self[lastSequence] {
        count -= 1
        removals += 1
        bytes -= size(message)
        bySubject[message.subject]?.remove(lastSequence)
        if bySubject[message.subject]?.count == 0 { bySubject[message.subject] = nil }
      }
      slots.removeLast()
      lastSequence -= 1
    }
    if count == 0 {
      slots = []
      head = 0
      firstSequence = lastSequence + 1
    } else {
      lastTime = self[lastSequence]?.time ?? lastTime
    }
  }
}

/// One subject's sequences, ascending.
private struct SequenceList: Sendable {
  private var items: [UInt64] = []
  private var head = 0

  var count: Int { items.count - head }
  var first: UInt64? { head < items.count ? items[head] : nil }
  var last: UInt64? { head < items.count ? items[items.count - 1] : nil }

  mutating func append(_ sequence: UInt64) { items.append(sequence) }

  mutating func remove(_ sequence: UInt64) {
    if items[head] == sequence {
      head += 1
      if head > 64, head * 2 > items.count {
        items.removeFirst(head)
        head = 0
      }
      return
    }
    var low = head
    var high = items.count
    while low < high {
      let middle = (low + high) / 2
      if items[middle] < sequence { low = middle + 1 } else { high = middle }
    }
    if low < items.count, items[low] == sequence { items.remove(at: low) }
  }
}
