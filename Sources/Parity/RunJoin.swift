public import Oplog

/// A message's parts, each as a digest.
public struct PartDigests: Sendable, Hashable {
  public var subject: MessageDigest
  public var headers: MessageDigest
  public var body: MessageDigest

  public init(subject: MessageDigest, headers: MessageDigest, body: MessageDigest) {
    self.subject = subject
    self.headers = headers
    self.body = body
  }
}

/// Looks into a run of suspects message by message: what is stored there, by id, against what is
/// expected, one after the other. A pure value.
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

    public init(
      sequence: UInt64, kind: ObservedRecord.Kind, id: String, position: EventPosition?,
      rule: String, subject: String, digests: PartDigests
    ) {
      self.sequence = sequence
      self.kind = kind
      self.id = id
      self.position = position
      self.rule = rule
      self.subject = subject
      self.digests = digests
    }
  }

  public enum Answer: Sendable, Equatable {
    case equal
    case missing
    /// It is there, but these parts differ.
    case differs(sequence: UInt64, subject: Bool, headers: Bool, body: Bool)
  }

  /// A stored message that is one too many.
  public struct Surplus: Sendable {
    public var observed: Observed
    /// The same id as this message, which stands first; nil: nothing explains it.
    public var repeats: UInt64?

    public init(observed: Observed, repeats: UInt64?) {
      self.observed = observed
      self.repeats = repeats
    }
  }

  private var observed: [Observed]
  private var byID: [String: [Int]] = [:]
  /// Of each: which expected message it is, in their order.
  private var meaning: [Int?]
  private var firstOfID: [String: UInt64] = [:]
  private var expectedCount = 0
  private var differing: Set<Int> = []
  private let apart: Set<UInt64>

  /// In any order. `apart`: sequences that stand apart from where their positions belong.
  public init(_ observed: [Observed], apart: Set<UInt64> = []) {
    self.apart = apart
    self.observed = observed.sorted { $0.sequence < $1.sequence }
    meaning = Array(repeating: nil, count: observed.count)
    for (index, message) in self.observed.enumerated() {
      byID[message.id, default: []].append(index)
    }
  }

  /// The next expected message, in oplog order.
  public mutating func expect(id: String, _ digests: PartDigests) -> Answer {
    defer { expectedCount += 1 }
    guard let places = byID[id] else { return .missing }
    let free = places.filter { meaning[$0] == nil }
    guard let index = free.first(where: { isEqual($0, digests) }) ?? free.first else {
      return .missing
    }
    meaning[index] = expectedCount
    let found = observed[index]
    firstOfID[id] = min(firstOfID[id] ?? .max, found.sequence)
    if isEqual(index, digests) { return .equal }
    differing.insert(index)
    return .differs(
      sequence: found.sequence,
      subject: found.digests.subject != digests.subject && found.kind != .foreign,
      headers: found.digests.headers != digests.headers && found.kind != .foreign,
      body: found.digests.body != digests.body)
  }

  /// Other producers share id and body; their headers and subjects are their own.
  private func isEqual(_ index: Int, _ digests: PartDigests) -> Bool {
    let found = observed[index]
    return found.kind == .foreign
      ? found.digests.body == digests.body : found.digests == digests
  }

  /// Messages that nothing expected.
  public func surplus() -> [Surplus] {
    observed.indices.filter { meaning[$0] == nil && observed[$0].kind != .foreign }.map { index in
      Surplus(observed: observed[index], repeats: firstOfID[observed[index].id])
    }
  }

  /// Messages out of their order: those that stand apart, and of the others the fewest whose removal
  /// leaves the rest in order. What is stored twice, or differs besides, is not named here.
  public func reordered() -> [Observed] {
    let doubled = Set(surplus().map(\.observed.id))
    let own = observed.indices.filter { index in
      observed[index].kind == .own && meaning[index] != nil && !differing.contains(index)
        && !doubled.contains(observed[index].id)
    }
    let together = own.filter { !apart.contains(observed[$0].sequence) }
    let kept = Self.longestRising(together.map { meaning[$0] ?? 0 })
    let inOrder = Set(kept.map { together[$0] })
    return own.filter { !inOrder.contains($0) }.map { observed[$0] }
  }

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
