import BSON
import Mapping
import Oplog
import Testing

@Suite("Documents of a snapshot")
struct SnapshotHeaderTests {
  static let uuid: [UInt8] = (1...16).map { $0 }
  static let prefix = "rs0:snapshot:1732360000.42:0102030405060708090a0b0c0d0e0f10:"

  private func headers(_ id: Value, _ rule: Rule, index: UInt32 = 1 << 24, match: Int = 0) throws
    -> [String]
  {
    var change = Change.insert(["_id": id], key: ["_id": id])
    change.position.index = index
    change.wallTime = nil
    change.collectionUUID = Self.uuid
    return try change.with { event in
      var event = event
      event.isSnapshot = true
      var mapper = Mapper(rules: [rule], sourceName: "rs0")
      var out = ByteWriter()
      try mapper.writeHeaders(rule: 0, event: event, match: match, into: &out)
      return String(decoding: out.bytes, as: UTF8.self).split(separator: "\r\n").map(String.init)
    }
  }

  @Test("are named by what they are, placed by their number, and marked at the end")
  func named() throws {
    let lines = try headers("m 1", try rule(), index: (1 << 24) + 7)
    #expect(lines.first == "Nats-Msg-Id: \(Self.prefix)2:m%201")
    #expect(lines.dropFirst().first == "Tailrace-Position: 1732360000.42.16777223")
    #expect(lines.contains("ce-id: \(Self.prefix)2:m%201"))
    #expect(lines.contains("ce-time: 2024-11-23T11:06:40.000Z"))
    #expect(lines.last == "Tailrace-Snapshot: true")
  }

  @Test("have the same name wherever they stand, another under another rule") func same() throws {
    let one = try headers(someObjectID, try rule(), index: 1 << 24)
    let two = try headers(someObjectID, try rule(), index: (1 << 24) + 900)
    #expect(one.first == two.first)
    #expect(one.first == "Nats-Msg-Id: \(Self.prefix)7:56e1fc72e0c917e9c4714161")
    #expect(
      try headers(someObjectID, try rule(name: "other"), match: 1).first
        == one.first.map {
          $0 + ":other"
        })
  }

  @Test("add the snapshot to a rule's own id, and share it wherever they stand") func template()
    throws
  {
    let one = try headers("m1", try rule(id: "{documentKey._id}.created"))
    #expect(one.first == "Nats-Msg-Id: m1.created:snapshot:1732360000.42")
    #expect(one.contains("ce-id: m1.created:snapshot:1732360000.42"))
    #expect(
      try headers("m1", try rule(id: "{documentKey._id}.created"), index: (1 << 24) + 9).first
        == one.first)
    let long = try rule(id: "{documentKey._id}")
    #expect(throws: MappingError.self) {
      try headers(.string(String(repeating: "x", count: 1010)), long)
    }
  }

  @Test("that look alike have different names") func different() throws {
    let alike: [Value] = [
      "1", 1, .int64(1), .double(1.5), "1.5", true, "true", .null, "null", .document([]),
      .array([]),
      .raw(.minKey, []), .raw(.maxKey, []), .regex("a", ""),
      .string(String(repeating: "x", count: 257)),
      .string(String(repeating: "x", count: 258)), .string(""), .binary(4, Self.uuid),
      .binary(0, Self.uuid), .date(0), .timestamp(1, 1),
    ]
    let names = try alike.map { try headers($0, try rule()).first ?? "" }
    #expect(Set(names).count == names.count)
    for name in names {
      #expect(name.hasPrefix("Nats-Msg-Id: \(Self.prefix)") && name.utf8.count < 512)
      #expect(name.utf8.allSatisfy { (0x20..<0x7F).contains($0) })
    }
  }

  @Test("of text that is not UTF-8 are named by their bytes") func invalid() throws {
    let broken = Value.raw(.string, [2, 0, 0, 0, 0xFF, 0])
    #expect(try headers(broken, try rule(envelope: .changeEvent)).first?.contains("2:") == true)
  }
}
