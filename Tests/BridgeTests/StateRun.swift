import BSON
import Bridge
import BridgeConfiguration
import Foundation
import Mapping
import MongoSource
import Oplog
import Parity
import Testing
import Verification

extension StateDifferentialTests {
  struct Message {
    var headers: FoldPlan.Headers
    var body: [UInt8]
  }

  struct Outcome {
    var unequal: [Mismatch] = []
    var found = StateJudge.Found()
    var isUndecided: Bool { !found.undecided.isEmpty }
  }

  struct Run {
    let configuration: BridgeConfiguration
    var world: StateWorld
    var messages: [Message] = []
    var changes: [CollectionFacts.Change] = []
    var snapshot: OplogPosition?
    /// Whether its documents were read later.
    var overlaps = false
    let tellsPaths: Bool

    init(seed: UInt64) throws {
      world = StateWorld(seed: seed)
      var dice = Dice(state: seed ^ 0xABCD)
      tellsPaths = dice.below(2) == 0
      configuration = try BridgeConfiguration.parse(
        yaml: Self.yaml(&dice, tellsPaths), file: "t.yaml", environment: [:])
      let steps = 20 + dice.below(120)
      let snapshotAt = dice.below(4) > 0 ? dice.below(steps) : -1
      var mapper = configuration.mapper(sourceName: "rs0")
      var decoder = OplogDecoder()
      decoder.disambiguatesPaths = configuration.rules.contains(where: \.disambiguatesPaths)
      for step in 0..<steps {
        var before = world.entries.count
        world.step()
        if step == snapshotAt {
          try publish(from: before, &decoder, &mapper)
          before = world.entries.count
          snapshot = world.position
          // Servers that keep no history have their documents read as they are by then.
          let isLate = dice.below(2) == 0 && walkAhead(1 + dice.below(8))
          overlaps = isLate && before < world.entries.count
          var index: UInt32 = 1 << 24
          try world.each { event in
            var event = event
            event.position = EventPosition(entry: snapshot ?? event.position.entry, index: index)
            index += 1
            try publish(event, &mapper)
          }
        }
        try publish(from: before, &decoder, &mapper)
      }
    }

    /// Does some steps, unless collections come or go in them.
    private mutating func walkAhead(_ steps: Int) -> Bool {
      var ahead = world
      for _ in 0..<steps { ahead.step() }
      var probe = OplogDecoder()
      let changes = ahead.entries[world.entries.count...].contains { entry in
        entry.withUnsafeBytes { bytes in
          guard let view = try? BSONView(bytes), (try? probe.begin(view)) != nil else {
            return true
          }
          while let event = try? probe.next() {
            if CollectionChange(event) != nil { return true }
          }
          return false
        }
      }
      if !changes { world = ahead }
      return !changes
    }

    private mutating func publish(
      from first: Int, _ decoder: inout OplogDecoder, _ mapper: inout Mapper
    ) throws {
      for entry in world.entries[first...] {
        try entry.withUnsafeBytes { bytes in
          _ = try decoder.begin(BSONView(bytes))
          while let event = try decoder.next() {
            if let change = CollectionChange(event) {
              changes.append(.init(event.position, change))
            }
            try publish(event, &mapper)
          }
        }
      }
    }

    /// A rule for everything, sometimes with another before it.
    private static func yaml(_ dice: inout Dice, _ tellsPaths: Bool) -> String {
      func pick(_ list: [String]) -> String { list[dice.below(list.count)] }
      let envelope = pick(["cloudevents", "cloudevents_structured", "change_event"])
      let excludes = ["fullDocument.a", "fullDocument.a.b", "fullDocument.x y", "fullDocument.c"]
      // What the tests add is shown by every rule.
      let includes = [
        "fullDocument.a", "fullDocument.a.b", "fullDocument.b.c", "fullDocument.0",
        "fullDocument.7.a", "fullDocument.x y",
      ]
      let redactions = ["fullDocument.é", "fullDocument.a", "fullDocument.c.a", "fullDocument.b.c"]
      let payload = """
        { envelope: \(envelope), json: \(pick(["simplified", "relaxed", "canonical"])),
          include: [\(dice.below(3) == 0 ? "fullDocument.zz, \(pick(includes)), \(pick(includes))" : "")],
          exclude: [\(dice.below(2) == 0 ? pick(excludes) : "")],
          rename: { \(dice.below(3) == 0 ? "\"fullDocument.b\": renamed" : "") },
          redact: { \(dice.below(2) == 0 ? "\"\(pick(redactions))\": \(pick(["mask", "hash"]))" : "") },
          disambiguated_paths: \(tellsPaths) }
        """
      let operations =
        dice.below(2) == 0
        ? "[insert, update, replace, delete]"
        : "[insert, update, replace, delete, drop, rename, drop_database]"
      let all = """
        - { name: all, match: { namespace: "d.*", operations: \(operations) }, subject: x.y,
            payload: \(payload) }
        """
      let one = """
        - { name: one, match: { namespace: "d.my coll", operations: \(operations) }, subject: x.z,
            payload: \(payload) }
        """
      return """
        source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
        redaction: { key: 0123456789abcdef0123456789abcdef }
        streams: [{ name: S, subjects: [x.>] }]
        rules:
        \(dice.below(2) == 0 ? one : "")
        \(all)
        """
    }

    private mutating func publish(_ event: ChangeEvent, _ mapper: inout Mapper) throws {
      guard let rule = mapper.firstMatch(event)?.rule else { return }
      var lines = ByteWriter()
      var body = ByteWriter()
      try mapper.writeHeaders(rule: rule, event: event, match: 0, into: &lines)
      try mapper.writeBody(rule: rule, event: event, match: 0, into: &body)
      var values: [String: String] = [:]
      for line in String(decoding: lines.bytes, as: UTF8.self).split(separator: "\r\n") {
        let colon = try #require(line.range(of: ": "))
        values[String(line[..<colon.lowerBound])] = String(line[colon.upperBound...])
      }
      messages.append(
        Message(
          headers: FoldPlan.Headers(
            id: values["Nats-Msg-Id"] ?? "", rule: values["Tailrace-Rule"] ?? "",
            position: event.position, type: values["ce-type"] ?? "",
            source: values["ce-source"] ?? "", isSnapshot: event.isSnapshot),
          body: Array(body.bytes)))
    }

    /// As `StateVerification` goes about it.
    func verify() throws -> Outcome {
      let first = try compare(facts: nil, isThorough: false)
      if first.unequal.isEmpty, first.found.alike.count == 0 { return first }
      let since = OplogPosition(seconds: 0, increment: 0)
      return try compare(
        facts: CollectionFacts(changes: changes, since: since), isThorough: true)
    }

    private func compare(facts: CollectionFacts?, isThorough: Bool) throws -> Outcome {
      let plan = FoldPlan(configuration)
      let moment = EventPosition(entry: world.position, index: .max)
      let start = EventPosition(entry: OplogPosition(seconds: 0, increment: 0), index: 0)
      let fold = StateFold(
        plan, DocumentPart(), range: start...moment, mostBytes: 64 << 20, isThorough: isThorough,
        facts: facts)
      fold.begin(stream: 0)
      for (index, message) in messages.enumerated() {
        fold.take(message.headers, message.body, UInt64(index + 1), stream: 0, "S")
      }
      fold.end(stream: 0)
      var knowledge = StateJudge.Knowledge(moment: moment)
      knowledge.snapshot = snapshot.map {
        var whole = Checkpoint.Snapshot(at: ResumePoint(position: $0, term: nil))
        whole.marker = nil
        return whole
      }
      knowledge.facts = facts
      let judge = StateJudge(configuration, plan, fold, knowledge)
      try world.each { try judge.take($0) }
      var outcome = Outcome(found: judge.finish())
      outcome.unequal = fold.unreadable + fold.doubled + outcome.found.unequal.values
      return outcome
    }
  }
}

extension StateWorld {
  /// The documents as a reader of the collections finds them.
  func each(_ body: (ChangeEvent) throws -> Void) throws {
    for (name, documents) in collections.sorted(by: {
      $0.key.lexicographicallyPrecedes($1.key)
    }) {
      guard name.starts(with: Array("d.".utf8)) else { continue }
      for (_, document) in documents.sorted(by: { $0.key < $1.key }) {
        let key = Value.document([.init("_id", document.id)]).bson
        try name.withUnsafeBytes { name in
          try key.withUnsafeBytes { key in
            try document.whole.bson.withUnsafeBytes { whole in
              var event = ChangeEvent(
                operation: .insert,
                position: EventPosition(entry: position, index: 1 << 24),
                namespace: name, databaseLength: 1, documentKey: try BSONView(key),
                fullDocument: try BSONView(whole))
              event.isSnapshot = true
              // Any that no other collection has.
              let uuid = MessageDigest(name)
              try withUnsafeBytes(of: uuid) { bytes in
                event.collectionUUID = bytes
                try body(event)
              }
            }
          }
        }
      }
    }
  }
}
