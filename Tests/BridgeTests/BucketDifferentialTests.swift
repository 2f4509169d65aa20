import BSON
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Mapping
import MongoSource
import Oplog
import Parity
import Testing
import Verification

/// Buckets that hold what a random world comes to, and such as don't. STATE_ROUNDS sets how many worlds.
@Suite("Differential: buckets")
struct BucketDifferentialTests {
  static let seeds = 0..<(Int(ProcessInfo.processInfo.environment["STATE_ROUNDS"] ?? "") ?? 60)

  /// One entry of the bucket.
  struct Entry {
    var subject: String
    var position: EventPosition
    var body: [UInt8]?
  }

  struct Run {
    let configuration: BridgeConfiguration
    var world: StateWorld
    var entries: [Entry] = []
    var changes: [CollectionFacts.Change] = []
    var snapshot: OplogPosition?
    let partBytes: Int

    init(seed: UInt64) throws {
      world = StateWorld(seed: seed)
      var dice = Dice(state: seed ^ 0xB0C)
      func pick(_ list: [String]) -> String { list[dice.below(list.count)] }
      partBytes = [2_000, 64 << 20][dice.below(2)]
      configuration = try BridgeConfiguration.parse(
        yaml: """
          source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
          redaction: { key: 0123456789abcdef0123456789abcdef }
          kv: [{ bucket: b }]
          rules:
            - { name: state, match: { namespace: "d.*" }, delivery: kv,
                kv: { bucket: b, key: "{ns.coll}.{documentKey._id}" },
                payload: { envelope: \(pick(["document", "change_event", "cloudevents", "cloudevents_structured", "debezium"])),
                  json: \(pick(["simplified", "relaxed", "canonical"])), full_document: when_available,
                  exclude: [\(dice.below(2) == 0 ? "fullDocument.a.b" : "")],
                  redact: { \(dice.below(2) == 0 ? "\"fullDocument.b\": \(pick(["mask", "hash"]))" : "") } } }
          """, file: "t.yaml", environment: [:])
      var mapper = configuration.mapper(sourceName: "rs0")
      var decoder = OplogDecoder()
      let steps = 20 + dice.below(120)
      let snapshotAt = dice.below(4) > 0 ? dice.below(steps) : -1
      for step in 0..<steps {
        let before = world.entries.count
        world.step()
        for entry in world.entries[before...] {
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
        guard step == snapshotAt else { continue }
        snapshot = world.position
        var index: UInt32 = 1 << 24
        let now = world
        try now.each { event in
          var event = event
          event.position = EventPosition(entry: now.position, index: index)
          index += 1
          try publish(event, &mapper)
        }
      }
    }

    /// With the document that the world has by now, as the bridge fetches it.
    private mutating func publish(_ event: ChangeEvent, _ mapper: inout Mapper) throws {
      guard event.operation == .update, let key = event.documentKey else {
        return try put(event, &mapper)
      }
      let known = world.collections[Array(event.namespace)]?.values.first {
        Value.document([.init("_id", $0.id)]).bson == Array(key.bytes)
      }
      guard let known else { return try put(event, &mapper) }
      try known.whole.bson.withUnsafeBytes { bytes in
        var event = event
        event.fullDocument = try BSONView(bytes)
        try put(event, &mapper)
      }
    }

    private mutating func put(_ event: ChangeEvent, _ mapper: inout Mapper) throws {
      guard let rule = mapper.firstMatch(event)?.rule else { return }
      var subject = ByteWriter()
      var body = ByteWriter()
      do throws(MappingError) {
        try mapper.writeSubject(rule: rule, event: event, into: &subject)
        if !mapper.purges(rule: rule, event: event) {
          try mapper.writeBody(rule: rule, event: event, match: 0, into: &body)
        }
      } catch {
        // A dead letter: ids that are documents make no key.
        return
      }
      entries.append(
        Entry(
          subject: String(decoding: subject.bytes, as: UTF8.self), position: event.position,
          body: body.count == 0 ? nil : Array(body.bytes)))
    }

    func verify() throws -> [BucketJudge.Found] {
      let first = try compare(nil)
      if first.allSatisfy(\.unequal.isEmpty) { return first }
      let since = OplogPosition(seconds: 0, increment: 0)
      return try compare(CollectionFacts(changes: changes, since: since))
    }

    private func compare(_ facts: CollectionFacts?) throws -> [BucketJudge.Found] {
      let plan = BucketPlan(configuration)
      let moment = EventPosition(entry: world.position, index: .max)
      let start = EventPosition(entry: OplogPosition(seconds: 0, increment: 0), index: 0)
      var parts = [DocumentPart()]
      var found: [BucketJudge.Found] = []
      while let part = parts.popLast() {
        let table = BucketTable(part, range: start...moment, mostBytes: partBytes)
        for (index, entry) in entries.enumerated() {
          table.take(
            BucketTable.Entry(
              subject: entry.subject, rule: "state", position: entry.position,
              sequence: UInt64(index + 1), body: entry.body), entry.subject, stream: 0)
        }
        parts += table.left
        var knowledge = BucketJudge.Knowledge(moment: moment)
        knowledge.snapshot = snapshot.map {
          var whole = Checkpoint.Snapshot(at: ResumePoint(position: $0, term: nil))
          whole.marker = nil
          return whole
        }
        knowledge.facts = facts
        let judge = BucketJudge(configuration, plan, table, knowledge)
        try world.each { try judge.take($0) }
        found.append(judge.finish())
      }
      return found
    }

    /// Entries that are the last of their keys, with a document, in collections that nothing has touched since.
    var comparable: [Int] {
      entries.indices.filter { index in
        let entry = entries[index]
        return entry.body != nil && entries.lastIndex { $0.subject == entry.subject } == index
          && !changes.contains { $0.position > entry.position }
      }
    }
  }

  private func differences(_ found: [BucketJudge.Found]) -> [Mismatch] {
    found.flatMap { $0.unequal.values.map(\.mismatch) }
  }

  @Test("the last entry of each key is the document", arguments: seeds)
  func clean(_ seed: Int) throws {
    let found = try Run(seed: UInt64(seed)).verify()
    #expect(differences(found).isEmpty)
    let notComparable = found.flatMap(\.notComparable.values)
    #expect(notComparable.isEmpty)
  }

  @Test("one entry that is wrong is found and named") func damaged() throws {
    var counts: [MismatchClass: Int] = [:]
    for seed in Self.seeds {
      let whole = try Run(seed: UInt64(seed))
      var dice = Dice(state: UInt64(seed) &+ 7)
      let able = whole.comparable
      guard !able.isEmpty else { continue }
      let index = able[dice.below(able.count)]
      let entry = whole.entries[index]
      var run = whole
      let kind: MismatchClass
      switch dice.below(4) {
      case 0:
        kind = .payloadMismatch
        run.entries[index].body = try Self.altered(#require(entry.body))
      case 1:
        kind = .missing
        run.entries[index].body = nil
      case 2:
        kind = .extra
        run.entries.append(
          Entry(subject: "\(entry.subject)x", position: entry.position, body: entry.body))
      default:
        // The last change never came: what was there before is there still, or nothing.
        kind = .payloadMismatch
        guard
          let earlier = run.entries[..<index].last(where: { $0.subject == entry.subject }),
          earlier.body != nil, earlier.body != entry.body,
          !run.changes.contains(where: { $0.position > earlier.position })
        else { continue }
        run.entries.remove(at: index)
        let stale = differences(try run.verify())
        // Envelopes differ also where documents don't.
        let others = stale.filter { $0.subject != entry.subject || $0.kind != kind }
        #expect(others.isEmpty, "\(seed)")
        continue
      }
      let found = differences(try run.verify())
      #expect(found.map(\.kind) == [kind], "\(seed) \(entry.subject): \(found)")
      let wrong = run.entries[kind == .extra ? run.entries.count - 1 : index].subject
      #expect(found.first?.subject == wrong)
      counts[kind, default: 0] += 1
    }
    for kind in [MismatchClass.payloadMismatch, .missing, .extra] {
      #expect(counts[kind, default: 0] >= Self.seeds.count / 20, "\(counts)")
    }
  }

  /// A body whose document has one more field.
  private static func altered(_ body: [UInt8]) throws -> [UInt8] {
    var whole = try JSONValue(parsing: body, maximumDepth: 300)
    if whole["specversion"] != nil, whole["data"] != nil {
      whole["data"]?["fullDocument"]?["zz"] = 1
    } else if let after = whole["after"]?.stringValue {
      var document = try JSONValue(parsing: Array(after.utf8), maximumDepth: 300)
      document["zz"] = 1
      whole["after"] = .string(document.text())
    } else if whole["fullDocument"] != nil {
      whole["fullDocument"]?["zz"] = 1
    } else {
      whole["zz"] = 1
    }
    return whole.utf8
  }

  @Test(
    "rules whose entries say too little",
    arguments: [
      ("match: { namespace: d.c, operations: [insert, delete] }", "when_available", "takes no"),
      ("match: { namespace: d.c, where: { operationType: insert } }", "when_available", "where"),
      ("match: { namespace: d.c }", "off", "full_document"),
    ]) func obstacles(_ match: String, _ lookup: String, _ word: String) throws
  {
    let configuration = try BridgeConfiguration.parse(
      yaml: """
        source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
        kv: [{ bucket: b }]
        rules:
          - { name: state, \(match), delivery: kv, kv: { bucket: b, key: "{documentKey._id}" },
              payload: { envelope: change_event, full_document: \(lookup) } }
        """, file: "t.yaml", environment: [:])
    let why = BucketPlan(configuration).obstacle(0, in: "d.c")
    #expect(why?.contains(word) ?? false, "\(why ?? "none")")
  }

  @Test("documents that rules put into buckets alone are no matter of streams") func inBucket()
    throws
  {
    let configuration = try BridgeConfiguration.parse(
      yaml: """
        source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
        kv: [{ bucket: b }]
        streams: [{ name: S, subjects: [x.>] }]
        rules:
          - { name: state, match: { namespace: d.c }, delivery: kv, continue: true,
              kv: { bucket: b, key: "{documentKey._id}" }, payload: { full_document: required } }
          - { name: only, match: { namespace: d.o }, delivery: kv,
              kv: { bucket: b, key: "o.{documentKey._id}" }, payload: { full_document: required } }
          - { name: all, match: { namespace: "d.*" }, subject: x.y, stream: S }
        """, file: "t.yaml", environment: [:])
    #expect(FoldPlan(configuration).answer("d.c") == .foldable(stream: 0))
    #expect(FoldPlan(configuration).answer("d.o") == .inBucket)
    #expect(BucketPlan(configuration).obstacle(0, in: "d.c") == nil)
    #expect(BucketPlan(configuration).obstacle(1, in: "d.o") == nil)
  }
}
