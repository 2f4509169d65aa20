/// A group whose events an application comes to publish itself, and operators who move it there. Chosen by a chance of
/// its own.
package struct CutoverScenario: Sendable {
  static let group = "events"
  static let stream = "EVENTS"
  static let collection = "events"
  let seed: UInt64
  /// How long faults happen.
  let length: Int64
  /// In seconds: how long a producer has, and how far back blockers are looked for.
  let grace: Int
  let window: Int
  private let duplicateWindow: Int
  private let mode: String
  /// Between faults, on average: where there are many, no group is ever ready for its commit.
  let faultPause: Int64
  /// Between writes, on average.
  let writePause: Int64
  /// Between commands, on average.
  let commandPause: Int64
  /// For so long the producer is good, and then wrong, late, silent or too eager, by turns.
  let goodTime: Int64
  let badTime: Int64
  /// The producer publishes in phase `bridge`, too.
  let startsEarly: Bool
  /// Operators may finalize.
  let mayFinalize: Bool
  /// Somebody deletes messages of the producer.
  let deletes: Bool
  /// The bridge may write notes into the oplog.
  let mayNote: Bool

  /// - Parameter aim: what it is narrowed to.
  init(seed: UInt64, _ aim: Aim?) {
    var chance = Chance(seed, 30)
    self.seed = seed
    length = chance.between(5, 20) * Nano.minute
    grace = chance.pick([1, 2, 5])
    let anyWindow = chance.pick([3, 10, 30, 120])
    window = aim?.window ?? anyWindow
    duplicateWindow = chance.pick([20, 60, 120])
    mode = chance.pick(["auto", "single"])
    faultPause = chance.pick([1, 5, 20, 60]) * Nano.second
    let anyWritePause = chance.pick([200, 1_000, 3_000]) * Nano.milli
    writePause = aim?.writePause ?? anyWritePause
    let anyCommandPause = chance.pick([3, 10, 30]) * Nano.second
    commandPause = aim?.commandPause ?? anyCommandPause
    let anyGoodTime = chance.pick([20, 60, 300]) * Nano.second
    goodTime = aim?.goodTime ?? anyGoodTime
    badTime = chance.pick([1, 10, 30]) * Nano.second
    startsEarly = chance.one(in: 4)
    mayFinalize = chance.one(in: 2)
    let anyDeletes = chance.one(in: 4)
    deletes = aim?.deletes ?? anyDeletes
    mayNote = aim?.mayNote ?? true
  }

  /// For so long servers know ids.
  var duplicates: Int64 { Int64(duplicateWindow) * Nano.second }

  func stream(replicas: Int) -> Scenario.Stream {
    var stream = Scenario.Stream(
      name: Self.stream, mode: mode, isExclusive: false, replicas: replicas,
      duplicateWindow: duplicateWindow)
    stream.isOfGroup = true
    return stream
  }

  var summary: String {
    "group: grace \(grace) s, window \(window) s, commands every \(commandPause / Nano.second) s\(deletes ? ", deletions" : "")"
  }

  /// Of the bridge.
  var settings: String { "cutover: { grace: \(grace)s, window: \(window)s }\n" }

  var rule: String {
    """
      - name: event
        group: \(Self.group)
        stream: \(Self.stream)
        match: { namespace: app.\(Self.collection), operations: [insert, replace] }
        subject: "events.{documentKey._id}.{operationType}"
        id: "{documentKey._id}.{fullDocument.n}"
        payload: { envelope: document }
    """
  }
}
