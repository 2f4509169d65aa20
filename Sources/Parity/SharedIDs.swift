public import Oplog

/// Compares the messages of a stream that other producers publish to under ids shared with the bridge.
/// Either may be first, so messages are compared by id at any position. After the stream's dedup window,
/// an id may be reused for another event: messages of the bridge are then distinguished by their
/// positions, those of other producers answer one event each.
///
/// Bounded: keeps at most `most` expected and `most` other ids. Beyond that, the oldest are discarded and
/// counted in `givenUp`.
public struct SharedIDs: Sendable {
  private struct Expected {
    var position: EventPosition
    var digest: MessageDigest
    var subject: MessageDigest
    var body: MessageDigest

    /// Other producers have their own headers.
    func isAnswered(by record: ObservedRecord) -> Bool {
      record.kind == .foreign
        ? record.body == body && record.subject == subject : record.digest == digest
    }
  }
  /// The state of one id. Nearly all have one event and one message.
  private struct IDState {
    var expected: Expected?
    var observed: ObservedRecord?
    var moreExpected: [Expected] = []
    var moreObserved: [ObservedRecord] = []

    var isPlain: Bool { moreExpected.isEmpty && moreObserved.isEmpty }
    var allExpected: [Expected] { (expected.map { [$0] } ?? []) + moreExpected }
    var allObserved: [ObservedRecord] { (observed.map { [$0] } ?? []) + moreObserved }
    /// The number of expected messages without a stored one.
    var waiting: Int {
      max(
        0,
        (expected == nil ? 0 : 1) + moreExpected.count - (observed == nil ? 0 : 1)
          - moreObserved.count)
    }
    var replays: [ObservedRecord] { allObserved.filter { $0.kind == .replayed } }
    var agrees: Bool {
      guard isPlain else { return Answers(self).isPlain }
      guard let expected else { return true }
      return observed.map { expected.isAnswered(by: $0) } ?? false
    }

    mutating func add(_ one: Expected) {
      if expected == nil { expected = one } else { moreExpected.append(one) }
    }

    mutating func add(_ record: ObservedRecord) {
      if observed == nil { observed = record } else { moreObserved.append(record) }
    }
  }

  private let most: Int
  private var states: [MessageDigest: IDState] = [:]
  private var wantedOrder = IDQueue()
  private var otherOrder = IDQueue()

  /// An expected message to examine, and the sequences of its id.
  public struct Suspect: Sendable, Equatable {
    public var position: EventPosition
    public var sequences: [UInt64]

    public init(position: EventPosition, sequences: [UInt64]) {
      self.position = position
      self.sequences = sequences
    }
  }
  public private(set) var expectedCount: UInt64 = 0
  /// The last position that was expected.
  public private(set) var lastExpected: EventPosition?
  public private(set) var observedCount: UInt64 = 0
  /// Expected messages that another producer published.
  public private(set) var foreignMatched: UInt64 = 0
  /// Those stored before they were expected.
  public private(set) var foreignMatchedEarly: UInt64 = 0
  public private(set) var givenUp: UInt64 = 0
  public private(set) var waitingCount = 0
  /// The number of expected ids with a mismatch.
  private var wrong = 0
  /// The number of unexpected ids with several replayed dead letters.
  private var repeatedReplays = 0

  public init(most: Int = 500_000) { self.most = most }

  public mutating func expect(
    _ id: MessageDigest, _ position: EventPosition, _ digest: MessageDigest,
    subject: MessageDigest, body: MessageDigest
  ) {
    expectedCount &+= 1
    lastExpected = position
    if states[id]?.expected == nil {
      wantedOrder.append(id)
      // Messages stored before were not counted yet.
      for record in states[id]?.allObserved ?? [] {
        observedCount &+= 1
        guard record.kind == .foreign else { continue }
        foreignMatched &+= 1
        foreignMatchedEarly &+= 1
      }
    }
    change(id) {
      $0.add(Expected(position: position, digest: digest, subject: subject, body: body))
    }
    while wantedOrder.count > most, let oldest = wantedOrder.next() { giveUp(oldest) }
  }

  /// Takes a stored message. False if its id is not expected so far.
  public mutating func observe(_ record: ObservedRecord) -> Bool {
    guard let id = record.id else { return false }
    let isWanted = states[id]?.expected != nil
    if isWanted {
      observedCount &+= 1
      if record.kind == .foreign { foreignMatched &+= 1 }
    } else if states[id] == nil {
      otherOrder.append(id)
    }
    change(id) { $0.add(record) }
    while otherOrder.count > most, let oldest = otherOrder.next() {
      if states[oldest]?.expected == nil { giveUp(oldest) }
    }
    return isWanted
  }

  private mutating func change(_ id: MessageDigest, _ body: (inout IDState) -> Void) {
    var state = states.removeValue(forKey: id) ?? IDState()
    count(state, -1)
    body(&state)
    count(state, 1)
    states[id] = state
  }

  private mutating func count(_ state: IDState, _ one: Int) {
    guard state.expected != nil else {
      if state.replays.count > 1 { repeatedReplays += one }
      return
    }
    waitingCount += one * state.waiting
    if !state.agrees { wrong += one }
  }

  private mutating func giveUp(_ id: MessageDigest) {
    guard let state = states.removeValue(forKey: id) else { return }
    count(state, -1)
    givenUp &+= 1
  }

  /// Whether another producer has an unexpected message with that id.
  public func hasUnexpected(_ id: MessageDigest) -> Bool {
    guard let state = states[id], state.expected == nil else { return false }
    return state.allObserved.contains { $0.kind == .foreign }
  }

  /// Whether all expected messages are stored and correct.
  public var agrees: Bool { wrong == 0 && repeatedReplays == 0 }

  /// The suspects to examine, and unexpected messages of the bridge.
  public func finish() -> (suspects: [Suspect], extra: [ObservedRecord]) {
    var suspects: [Suspect] = []
    var extra: [ObservedRecord] = []
    for state in states.values {
      guard state.expected != nil else {
        extra += state.allObserved.filter { $0.kind == .own && $0.position != nil }
        if state.replays.count > 1 { extra += state.replays }
        continue
      }
      if state.isPlain, state.agrees { continue }
      let answers = Answers(state)
      suspects += answers.suspects
      extra += answers.extra
    }
    return (
      suspects.sorted { $0.position < $1.position }, extra.sorted { $0.sequence < $1.sequence }
    )
  }
}

extension SharedIDs {
  /// Assigns an id's messages to its events.
  private struct Answers {
    var suspects: [Suspect] = []
    /// Messages of the bridge for other events.
    var extra: [ObservedRecord] = []

    var isPlain: Bool { suspects.isEmpty && extra.isEmpty }

    init(_ state: IDState) {
      let expected = state.allExpected
      var answers = [ObservedRecord?](repeating: nil, count: expected.count)
      var left = state.allObserved
      func answer(_ mayBe: (Expected, ObservedRecord) -> Bool) {
        for index in expected.indices where answers[index] == nil {
          guard let place = left.firstIndex(where: { mayBe(expected[index], $0) }) else { continue }
          answers[index] = left.remove(at: place)
        }
      }
      answer { $0.position == $1.position && $0.isAnswered(by: $1) }
      answer { $0.position == $1.position }
      // Messages of other producers have no position; they are in the events' order.
      answer { !$1.namesEvent && $0.isAnswered(by: $1) }
      answer { !$1.namesEvent }
      for (one, found) in zip(expected, answers) {
        guard let found else {
          suspects.append(Suspect(position: one.position, sequences: []))
          continue
        }
        if !one.isAnswered(by: found) {
          suspects.append(Suspect(position: one.position, sequences: [found.sequence]))
        }
      }
      for record in left {
        let index =
          expected.indices.first { expected[$0].position == record.position }
          ?? (record.namesEvent
            ? nil
            : expected.indices.first { expected[$0].isAnswered(by: record) }
              ?? expected.indices.first)
        guard let index, let found = answers[index] else {
          extra.append(record)
          continue
        }
        // A duplicate.
        suspects.append(
          Suspect(
            position: expected[index].position, sequences: [found.sequence, record.sequence]))
      }
    }
  }
}

extension ObservedRecord {
  /// It has its event's position.
  fileprivate var namesEvent: Bool { kind == .own && position != nil }
}

/// A queue of ids.
private struct IDQueue: Sendable {
  private var ids: [MessageDigest] = []
  private var first = 0

  var count: Int { ids.count - first }

  mutating func append(_ id: MessageDigest) { ids.append(id) }

  mutating func next() -> MessageDigest? {
    guard first < ids.count else { return nil }
    defer { first += 1 }
    if first > 65_536, first > ids.count / 2 {
      ids.removeFirst(first)
      first = 0
    }
    return ids[first]
  }
}
