public import Oplog

/// The digests of a message's parts.
public struct PartDigests: Sendable, Hashable {
  public var subject: MessageDigest
  public var headers: MessageDigest
  public var body: MessageDigest
  /// Of the body as a JSON value: what other producers' messages are compared by. Nil: by its bytes.
  public var value: MessageDigest?

  public init(
    subject: MessageDigest, headers: MessageDigest, body: MessageDigest,
    value: MessageDigest? = nil
  ) {
    self.subject = subject
    self.headers = headers
    self.body = body
    self.value = value
  }

  /// The body's digest that a message of this kind is compared by.
  func body(for kind: ObservedRecord.Kind) -> MessageDigest {
    kind == .foreign ? value ?? body : body
  }
}

/// Compares a run of suspects message by message: expected messages in order with stored ones by id. A
/// pure value.
public struct RunJoin: Sendable {
  /// A stored message.
  public struct Observed: Sendable {
    public var sequence: UInt64
    public var kind: ObservedRecord.Kind
    public var id: String
    public var position: EventPosition?
    public var rule: String
    public var subject: String
    public var digests: PartDigests
    /// The reason of a dead letter.
    public var letter: Letter?

    public init(
      sequence: UInt64, kind: ObservedRecord.Kind, id: String, position: EventPosition?,
      rule: String, subject: String, digests: PartDigests, letter: Letter? = nil
    ) {
      self.letter = letter
      self.sequence = sequence
      self.kind = kind
      self.id = id
      self.position = position
      self.rule = rule
      self.subject = subject
      self.digests = digests
    }
  }

  public struct Letter: Sendable, Hashable {
    public var code: String
    public var detail: String

    public init(code: String, detail: String) {
      self.code = code
      self.detail = detail
    }
  }

  public enum Answer: Sendable, Equatable {
    case equal
    case missing
    /// Its id occurs only at other positions, possibly of other events. Call `settle` when all messages are
    /// expected.
    case open(Postponed)
    /// It is stored, but these parts differ.
    case differs(sequence: UInt64, subject: Bool, headers: Bool, body: Bool)
  }

  /// An expected message whose answer depends on later expected messages.
  public struct Postponed: Sendable, Equatable {
    fileprivate var id: [UInt8]
    fileprivate var digests: PartDigests
    fileprivate var rank: Int
  }

  /// A stored message that is not expected.
  public struct Surplus: Sendable {
    public var observed: Observed
    /// The sequence of an earlier message with the same id; nil if there is none.
    public var repeats: UInt64?

    public init(observed: Observed, repeats: UInt64?) {
      self.observed = observed
      self.repeats = repeats
    }
  }

  private var observed: [Observed]
  /// Ids as bytes: `String` treats composed and decomposed characters as equal.
  private var byID: [[UInt8]: [Int]] = [:]
  /// The rank of the expected message that each stored one is.
  private var meaning: [Int?]
  private var firstOfID: [[UInt8]: UInt64] = [:]
  /// Ids that other producers use too.
  private var sharedIDs: Set<[UInt8]> = []
  private var expectedCount = 0
  /// The kind of the message found last.
  public private(set) var lastKind = ObservedRecord.Kind.own
  private var differing: Set<Int> = []
  /// Stored messages that are valid alternatives to expected ones, with their rank.
  private var excused: [Int: Int] = [:]
  private var byPosition: [EventPosition: [Int]] = [:]
  private let apart: Set<UInt64>

  /// - Parameters:
  ///   - observed: in any order.
  ///   - apart: sequences far from where their positions belong.
  public init(_ observed: [Observed], apart: Set<UInt64> = []) {
    self.apart = apart
    self.observed = observed.sorted { $0.sequence < $1.sequence }
    meaning = Array(repeating: nil, count: observed.count)
    for (index, message) in self.observed.enumerated() {
      byID[Array(message.id.utf8), default: []].append(index)
      if message.kind == .own, let position = message.position {
        byPosition[position, default: []].append(index)
      }
    }
  }

  /// A message of the bridge for that event and rule that is not explained yet.
  public func unexplained(_ position: EventPosition, rule: String) -> Observed? {
    byPosition[position]?.first { isOpen($0) && observed[$0].rule == rule }.map { observed[$0] }
  }

  /// For an event whose messages aren't certain: gives the first unexplained message of the rule the next
  /// rank. It remains in `surplus()`.
  public mutating func excuse(_ position: EventPosition, rule: String) -> Observed? {
    guard
      let index = byPosition[position]?.first(where: { isOpen($0) && observed[$0].rule == rule })
    else { return nil }
    return excuse(index, rank: nextRank())
  }

  /// The same by a known id, if its position or rule may be wrong. Call it when all messages are expected:
  /// before, it could match another event's message with that id.
  ///
  /// - Parameter others: other rules whose messages may have that id.
  public mutating func excuse(id: String, rank: Int, others: Set<String> = []) -> Observed? {
    let index = byID[Array(id.utf8)]?.first {
      isOpen($0) && observed[$0].kind == .own && !others.contains(observed[$0].rule)
    }
    return index.map { excuse($0, rank: rank) }
  }

  /// Whether there is an unexplained message with that id.
  public func mayHold(_ id: String) -> Bool {
    byID[Array(id.utf8)]?.contains { isOpen($0) } ?? false
  }

  /// The next rank in the expected order.
  public mutating func nextRank() -> Int {
    defer { expectedCount += 1 }
    return expectedCount
  }

  private mutating func excuse(_ index: Int, rank: Int) -> Observed {
    excused[index] = rank
    let id = Array(observed[index].id.utf8)
    firstOfID[id] = min(firstOfID[id] ?? .max, observed[index].sequence)
    return observed[index]
  }

  private func isOpen(_ index: Int) -> Bool { meaning[index] == nil && excused[index] == nil }

  /// The next expected message, in oplog order. Several events with the same id are distinguished by their
  /// positions.
  ///
  /// - Parameters:
  ///   - isOpen: a difference may be valid, so the message's order is still checked.
  ///   - isShared: other producers use its id too: each message with that id answers one event.
  public mutating func expect(
    id: String, _ position: EventPosition, _ digests: PartDigests, isOpen: Bool = false,
    isShared: Bool = false
  ) -> Answer {
    let rank = nextRank()
    let id = Array(id.utf8)
    if isShared { sharedIDs.insert(id) }
    guard let places = byID[id] else { return .missing }
    let free = places.filter { meaning[$0] == nil }
    let equal = free.first { isEqual($0, digests) }
    // Messages of other producers have no position.
    let own = free.first { observed[$0].position == position }
    guard
      let index = equal ?? own
        ?? free.first(where: { observed[$0].kind == .foreign || observed[$0].position == nil })
    else {
      guard !free.isEmpty else { return .missing }
      return .open(Postponed(id: id, digests: digests, rank: rank))
    }
    return take(index, Postponed(id: id, digests: digests, rank: rank), isOpen: isOpen)
  }

  /// Resolves a postponed message when all messages are expected: an unexplained message with its id must
  /// be this one, with a wrong position.
  public mutating func settle(_ one: Postponed, isOpen: Bool = false) -> Answer {
    let places = byID[one.id] ?? []
    let answered = Set(places.filter { meaning[$0] != nil }.compactMap { observed[$0].position })
    // A duplicate of another event's message doesn't belong to this event.
    guard
      let index = places.first(where: { index in
        self.isOpen(index) && !(observed[index].position.map(answered.contains) ?? false)
      })
    else { return .missing }
    return take(index, one, isOpen: isOpen)
  }

  private mutating func take(_ index: Int, _ one: Postponed, isOpen: Bool) -> Answer {
    let (id, digests) = (one.id, one.digests)
    meaning[index] = one.rank
    let found = observed[index]
    lastKind = found.kind
    firstOfID[id] = min(firstOfID[id] ?? .max, found.sequence)
    if isEqual(index, digests) { return .equal }
    if !isOpen { differing.insert(index) }
    return .differs(
      sequence: found.sequence,
      subject: found.digests.subject != digests.subject,
      headers: found.digests.headers != digests.headers && found.kind != .foreign,
      body: found.digests.body != digests.body(for: found.kind))
  }

  /// Other producers share id, subject and body (as a JSON value), but not the headers.
  private func isEqual(_ index: Int, _ digests: PartDigests) -> Bool {
    let found = observed[index]
    return found.kind == .foreign
      ? found.digests.body == digests.body(for: .foreign)
        && found.digests.subject == digests.subject
      : found.digests.subject == digests.subject && found.digests.headers == digests.headers
        && found.digests.body == digests.body
  }

  /// Unexpected messages. Those of other producers count only if their id is shared and already answered.
  public func surplus() -> [Surplus] {
    observed.indices.filter { meaning[$0] == nil && isJudged($0) }.map { index in
      Surplus(
        observed: observed[index],
        repeats: excused[index] == nil ? firstOfID[Array(observed[index].id.utf8)] : nil)
    }
  }

  private func isJudged(_ index: Int) -> Bool {
    guard observed[index].kind == .foreign else { return true }
    let id = Array(observed[index].id.utf8)
    return sharedIDs.contains(id) && firstOfID[id] != nil
  }

  /// Messages out of order: those in `apart`, and the fewest others whose removal leaves the rest in order.
  /// Without duplicates and messages that differ, which are reported anyway.
  public func reordered() -> [Observed] {
    let doubled = doubledIDs
    let own = observed.indices.filter { index in
      observed[index].kind == .own && rank(index) != nil && !differing.contains(index)
        && !doubled.contains(Array(observed[index].id.utf8))
    }
    let together = own.filter { !apart.contains(observed[$0].sequence) }
    let kept = Self.longestRising(together.map { rank($0) ?? 0 })
    let inOrder = Set(kept.map { together[$0] })
    return own.filter { !inOrder.contains($0) }.map { observed[$0] }
  }

  private var doubledIDs: Set<[UInt8]> {
    Set(
      observed.indices.filter { isOpen($0) && isJudged($0) }
        .map { Array(observed[$0].id.utf8) })
  }

  private func rank(_ index: Int) -> Int? { meaning[index] ?? excused[index] }

  /// Indices of a longest rising subsequence (patience sorting).
  static func longestRising(_ values: [Int]) -> Set<Int> {
    var tails: [Int] = []
    var previous = [Int](repeating: -1, count: values.count)
    for index in values.indices {
      let place = tails.partitioningIndex { values[$0] >= values[index] }
      if place > 0 { previous[index] = tails[place - 1] }
      if place == tails.count { tails.append(index) } else { tails[place] = index }
    }
    var kept: Set<Int> = []
    var at = tails.last ?? -1
    while at >= 0 {
      kept.insert(at)
      at = previous[at]
    }
    return kept
  }
}
