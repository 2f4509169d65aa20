public import Oplog

/// Messages of a stream that others publish to as well, under ids that they share with the bridge: who
/// of them was first with one is left open, so they are judged by id, wherever they stand. An id may come
/// again for another event once the stream's dedup window is over: the bridge's messages are told apart by
/// their positions, those of others answer one event after the other.
///
/// Bounded: ids are kept up to `most` each of those that are expected and those that are not. Beyond that
/// the oldest are given up, which is counted.
public struct SharedIDs: Sendable {
  private struct Expected {
    var position: EventPosition
    var digest: MessageDigest
    var subject: MessageDigest
    var body: MessageDigest

    /// Others' headers are their own.
    func isAnswered(by record: ObservedRecord) -> Bool {
      record.kind == .foreign
        ? record.body == body && record.subject == subject : record.digest == digest
    }
  }
  /// What is known of one id: nearly all have one event and one message.
  private struct Course {
    var expected: Expected?
    var observed: ObservedRecord?
    var moreExpected: [Expected] = []
    var moreObserved: [ObservedRecord] = []

    var isPlain: Bool { moreExpected.isEmpty && moreObserved.isEmpty }
    var allExpected: [Expected] { (expected.map { [$0] } ?? []) + moreExpected }
    var allObserved: [ObservedRecord] { (observed.map { [$0] } ?? []) + moreObserved }
    /// Expected messages that no stored one can be.
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
  private var courses: [MessageDigest: Course] = [:]
  private var wantedOrder = IDQueue()
  private var otherOrder = IDQueue()

  /// What has to be looked into: an expected message and where its id stands.
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
  /// Others' messages that were the ones.
  public private(set) var foreignMatched: UInt64 = 0
  /// … that were there before they were expected, when nobody could know.
  public private(set) var foreignMatchedEarly: UInt64 = 0
  public private(set) var givenUp: UInt64 = 0
  public private(set) var waitingCount = 0
  /// Expected ids with something wrong.
  private var wrong = 0
  /// Dead letters that were replayed more than once, and not expected as messages.
  private var repeatedReplays = 0

  public init(most: Int = 500_000) { self.most = most }

  public mutating func expect(
    _ id: MessageDigest, _ position: EventPosition, _ digest: MessageDigest,
    subject: MessageDigest, body: MessageDigest
  ) {
    expectedCount &+= 1
    lastExpected = position
    if courses[id]?.expected == nil {
      wantedOrder.append(id)
      // Whatever was there was not known to be wanted.
      for record in courses[id]?.allObserved ?? [] {
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

  /// A stored message; false: its id is not one that is expected, so far.
  public mutating func observe(_ record: ObservedRecord) -> Bool {
    guard let id = record.id else { return false }
    let isWanted = courses[id]?.expected != nil
    if isWanted {
      observedCount &+= 1
      if record.kind == .foreign { foreignMatched &+= 1 }
    } else if courses[id] == nil {
      otherOrder.append(id)
    }
    change(id) { $0.add(record) }
    while otherOrder.count > most, let oldest = otherOrder.next() {
      if courses[oldest]?.expected == nil { giveUp(oldest) }
    }
    return isWanted
  }

  private mutating func change(_ id: MessageDigest, _ body: (inout Course) -> Void) {
    var course = courses.removeValue(forKey: id) ?? Course()
    count(course, -1)
    body(&course)
    count(course, 1)
    courses[id] = course
  }

  private mutating func count(_ course: Course, _ one: Int) {
    guard course.expected != nil else {
      if course.replays.count > 1 { repeatedReplays += one }
      return
    }
    waitingCount += one * course.waiting
    if !course.agrees { wrong += one }
  }

  private mutating func giveUp(_ id: MessageDigest) {
    guard let course = courses.removeValue(forKey: id) else { return }
    count(course, -1)
    givenUp &+= 1
  }

  /// Whether somebody else has a message of that id, which nothing expects.
  public func hasUnexpected(_ id: MessageDigest) -> Bool {
    guard let course = courses[id], course.expected == nil else { return false }
    return course.allObserved.contains { $0.kind == .foreign }
  }

  /// Whether everything expected was there, as it should be.
  public var agrees: Bool { wrong == 0 && repeatedReplays == 0 }

  /// What has to be looked into, and messages of the bridge that nobody expected.
  public func finish() -> (suspects: [Suspect], extra: [ObservedRecord]) {
    var suspects: [Suspect] = []
    var extra: [ObservedRecord] = []
    for course in courses.values {
      guard course.expected != nil else {
        extra += course.allObserved.filter { $0.kind == .own && $0.position != nil }
        if course.replays.count > 1 { extra += course.replays }
        continue
      }
      if course.isPlain, course.agrees { continue }
      let answers = Answers(course)
      suspects += answers.suspects
      extra += answers.extra
    }
    return (
      suspects.sorted { $0.position < $1.position }, extra.sorted { $0.sequence < $1.sequence }
    )
  }
}

extension SharedIDs {
  /// Which of an id's messages answers which of its events.
  private struct Answers {
    var suspects: [Suspect] = []
    /// The bridge's, of other events than those of the id.
    var extra: [ObservedRecord] = []

    var isPlain: Bool { suspects.isEmpty && extra.isEmpty }

    init(_ course: Course) {
      let expected = course.allExpected
      var answers = [ObservedRecord?](repeating: nil, count: expected.count)
      var left = course.allObserved
      func answer(_ mayBe: (Expected, ObservedRecord) -> Bool) {
        for index in expected.indices where answers[index] == nil {
          guard let place = left.firstIndex(where: { mayBe(expected[index], $0) }) else { continue }
          answers[index] = left.remove(at: place)
        }
      }
      answer { $0.position == $1.position && $0.isAnswered(by: $1) }
      answer { $0.position == $1.position }
      // Others' messages have no position; they come in the events' order.
      answer { !$1.hasPlace && $0.isAnswered(by: $1) }
      answer { !$1.hasPlace }
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
          ?? (record.hasPlace
            ? nil
            : expected.indices.first { expected[$0].isAnswered(by: record) }
              ?? expected.indices.first)
        guard let index, let found = answers[index] else {
          extra.append(record)
          continue
        }
        // One more of what is there.
        suspects.append(
          Suspect(
            position: expected[index].position, sequences: [found.sequence, record.sequence]))
      }
    }
  }
}

extension ObservedRecord {
  /// It says itself which event it is of.
  fileprivate var hasPlace: Bool { kind == .own && position != nil }
}

/// Ids in the order in which they came.
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
