import BSON
import Foundation
import Oplog
import SimulatedMongo
import Testing

/// Entries look like those of real servers.
@Suite struct FormTests {
  struct Scenario {
    var server: String
    var name: String
    var entries: [[UInt8]]
  }

  /// What OplogTests captured.
  static func scenarios() throws -> [Scenario] {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "OplogTests/Fixtures/scenarios.jsonl")
    return try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map { line in
      try ExtendedJSON.bson(line, as: .printed).withUnsafeBytes { raw in
        let scenario = try BSONView(raw)
        func text(_ key: StaticString) throws -> String {
          String(decoding: try #require(try scenario.first(key)?.string), as: UTF8.self)
        }
        return Scenario(
          server: try text("server"), name: try text("scenario"),
          entries: try #require(try scenario.first("entries")?.document).list()
            .map { [UInt8]($0.value) })
      }
    }
  }

  /// Captured entries pass through an oplog unchanged, from every member.
  @Test func capturedEntriesPass() throws {
    var passed = 0
    for scenario in try Self.scenarios() {
      let set = SimulatedReplicaSet(seed: 1, now: 1_000_000_000_000_000_000)
      for entry in scenario.entries {
        #expect(try set.append(captured: entry) != nil, "\(scenario.server) \(scenario.name)")
      }
      for _ in 0..<2 {
        set.replicate(1)
        set.replicate(2)
        set.updateMajority()
      }
      let start = OplogPosition(seconds: 1_100_000_000, increment: 1)
      for member in 0..<3 {
        let reply = try set.find(on: member, from: start, majority: true, batchSize: 1000)
        let entries = try set.bytes(of: reply).withUnsafeBytes { raw in
          let cursor = try #require(try BSONView(raw).first("cursor")?.document)
          return try #require(try cursor.first("firstBatch")?.document).list()
            .map { [UInt8]($0.value) }
        }
        #expect(entries == scenario.entries, "\(scenario.server) \(scenario.name)")
      }
      passed += scenario.entries.count
    }
    #expect(passed > 500)
  }

  /// The fields of entries, in the order and with the types of 6.0's.
  @Test func fieldsAreThoseOfAServer() throws {
    let captured = try Self.scenarios().filter { $0.server == "6.0.27" }
    func shape(_ scenario: String, _ number: Int = 0) throws -> String {
      let scenario = try #require(captured.first { $0.name == scenario })
      return try Self.shape(scenario.entries[number])
    }
    let set = SimulatedReplicaSet(seed: 1, now: 1_800_000_000_000_000_000)
    let collection = set.collection("app", "c")
    let session = set.session()
    func operation(_ kind: DocumentChange.Kind) -> DocumentChange {
      DocumentChange(kind, collection, .int32(1), value: 1)
    }
    func newest() throws -> String {
      let number = try set.find(
        on: 0, from: #require(try set.newest(on: 0)).position, majority: false, batchSize: 1
      ).entries
      return try Self.shape(set.bytes(of: number[0]))
    }

    set.write(operation(.insert))
    #expect(try newest() == shape("insertOne.nonretryable"))
    set.write(operation(.insert), in: session)
    #expect(try newest() == shape("insertOne.retryable"))
    set.write(operation(.update), in: session)
    #expect(try newest() == shape("update.set.retryable"))
    set.write(operation(.replace), in: session)
    #expect(try newest() == shape("replace"))
    set.write(operation(.delete))
    #expect(try newest() == shape("deleteMany"))
    set.noop()
    #expect(try newest() == shape("txn.empty"))
    set.create(collection)
    #expect(try newest() == shape("create.explicit"))
    set.drop(collection)
    #expect(try newest() == shape("drop", 2))
    set.transaction([operation(.insert), operation(.update), operation(.delete)], in: session)
    #expect(try newest() == shape("txn.single"))
    let chain = try #require(set.begin(in: session))
    set.part(chain, [operation(.insert)])
    #expect(try newest() == shape("txn.session.goesOn"))
    set.commit(chain, [operation(.insert)])
    #expect(try newest() == shape("txn.session.goesOn", 1))
    let single = try #require(set.begin(in: session))
    set.prepare(single, [operation(.insert)])
    #expect(try newest() == shape("txn.prepared.single"))
    set.abort(single)
    #expect(try newest() == shape("txn.prepared.abort.chain", 3))
    let prepared = try #require(set.begin(in: session))
    set.part(prepared, [operation(.insert)])
    set.prepare(prepared, [operation(.insert)])
    #expect(try newest() == shape("txn.prepared.commit.chain", 1))
    set.replicate(1)
    set.updateMajority()
    set.commit(prepared)
    #expect(try newest() == shape("txn.prepared.commit.chain", 4))
  }

  /// Names and types of an entry's fields; of those in documents too, without the users' own.
  private static func shape(_ entry: [UInt8]) throws -> String {
    try entry.withUnsafeBytes { try shape(BSONView($0)) }
  }

  private static func shape(_ view: BSONView) throws -> String {
    var isCommand = false
    return try view.list().map { field in
      if field.name == "op", let op = field.string { isCommand = op.equals("c") || op.equals("n") }
      guard let document = field.document else { return "\(field.name) \(field.type)" }
      switch field.name {
      case "o" where !isCommand:
        let isUpdate = try document.first("$v") != nil
        return "o " + (isUpdate ? "update" : "document")
      case "o2" where !isCommand: return "o2 key"
      // How many there are is no matter of form; the first says it.
      case "applyOps":
        return try "applyOps [\(document.list().first?.document.map { try shape($0) } ?? "")]"
      default: return "\(field.name) {\(try shape(document))}"
      }
    }.joined(separator: ", ")
  }
}

extension BSONView {
  func list() throws -> [BSONElement] {
    var result: [BSONElement] = []
    var walk = elements()
    while let element = try walk.next() { result.append(element) }
    return result
  }
}

extension BSONElement {
  var name: String { String(decoding: key, as: UTF8.self) }
}
