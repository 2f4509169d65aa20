import MongoSource
import Oplog
import Testing

/// The collections, and sets that can't be examined.
extension DoctorCheckTests {
  // MARK: Data

  @Test func collectionsOfASpecialKind() throws {
    let facts = DoctorFacts.Collections([
      DoctorFacts.Collection("chat.weather", isTimeSeries: true),
      DoctorFacts.Collection("chat.log", isCapped: true),
    ])
    let series = try check("mongodb.time_series") { $0.collections = .known(facts) }
    #expect(series.verdict == .warn)
    #expect(series.evidence.contains("chat.weather"))
    let capped = try check("mongodb.capped_collections") { $0.collections = .known(facts) }
    #expect(capped.evidence.contains("chat.log"))
    #expect(capped.evidence.contains("published as deletes"))
    let silently = try check("mongodb.capped_collections") {
      $0.collections = .known(facts)
      $0.version = .known("5.0.4")
    }
    #expect(silently.evidence.contains("without an event"))
    let unseen: [Answer<DoctorFacts.Collections>] = [
      .forbidden, .known(DoctorFacts.Collections(hidden: ["chat"])), .notAsked("no time"),
    ]
    for hidden in unseen {
      let found = try check("mongodb.time_series") { $0.collections = hidden }
      #expect(found.verdict == .warn)
      #expect(found.evidence.contains("can't be seen"))
    }
  }

  @Test func preImages() throws {
    let id = "mongodb.pre_images"
    var demands = Self.demands
    demands.preImages = ["chat.messages", "chat.rooms.x"]
    let optional = try check(id, demands) { _ in }
    #expect(optional.verdict != .fail, "the rule can do without")
    demands.requiredPreImages = Set(demands.preImages)
    func found(_ collections: [DoctorFacts.Collection], version: String = "6.0.5") throws
      -> Diagnosis
    {
      try check(id, demands) {
        $0.collections = .known(DoctorFacts.Collections(collections))
        $0.version = .known(version)
      }
    }
    let on = DoctorFacts.Collection("chat.messages", hasPreImages: true)
    #expect(
      try found([on, .init("chat.rooms.x", hasPreImages: true)]).verdict == .ok)
    let off = try found([on, .init("chat.rooms.x")])
    #expect(off.verdict == .fail)
    #expect(
      off.remedy == #"db.getSiblingDB("chat").runCommand({ collMod: "rooms.x", "#
        + "changeStreamPreAndPostImages: { enabled: true } })")
    #expect(try found([on, .init("chat.rooms.x")], version: "5.0.4").evidence.contains("6.0"))
    #expect(try found([on]).verdict == .warn)
    #expect(Self.healthy.diagnose(Self.demands).allSatisfy { $0.id != id }, "nobody wants them")
  }

  @Test func sizes() throws {
    let id = "mongodb.document_size"
    let entry = try check(id) {
      $0.largest = .known([.init(namespace: "chat.files", bytes: 900_000)])
    }
    #expect(entry.verdict == .warn)
    #expect(entry.evidence.contains("chat.files"))
    #expect(entry.remedy?.contains("max_payload") == true)
    let average = try check(id) {
      $0.collections = .known(
        DoctorFacts.Collections([.init("chat.files", averageSize: 300_000)]))
    }
    #expect(average.verdict == .warn)
    #expect(try check(id) { $0.largest = .notAsked("no time") }.verdict == .warn)
    #expect(try check(id) { $0.largest = .known([]) }.verdict == .ok)
  }

  // MARK: No contact

  @Test func whoeverAnswersInsteadIsNamed() throws {
    let error = MongoError(
      domain: .selection, message: "No suitable servers found: connection refused",
      place: "server selection",
      isTransient: true)
    func found(_ kind: NoContact.ProbedServer.Kind) throws -> Diagnosis {
      let found = NoContact(error, found: [.init(host: "db1:27017", kind: kind)])
        .diagnose(MongoDemands())
      #expect(found.count == 1)
      return try #require(found.first)
    }
    let router = try found(.router)
    #expect(router.id == "mongodb.replica_set")
    #expect(router.remedy?.contains("change_stream") == true)
    #expect(try found(.standalone).remedy?.contains("rs.initiate(") == true)
    #expect(try found(.uninitiated).remedy?.contains(#"host: "db1:27017""#) == true)
    #expect(try found(.member(set: "other")).remedy?.contains("replicaSet=other") == true)
    let silent = try found(.silent("no answer"))
    #expect(silent.id == "mongodb.reachable")
    #expect(silent.evidence.contains("connection refused"))
    for verdict in [router, silent] { #expect(verdict.verdict == .fail) }
  }

  @Test func figures() {
    #expect(durationText(0) == "0 s")
    #expect(durationText(59) == "59 s")
    #expect(durationText(3600) == "1 h")
    #expect(durationText(90_061) == "1 d 1 h")
    #expect(sizeText(0) == "0 B")
    #expect(sizeText(1536) == "1.5 KiB")
    #expect(sizeText(990 * 1_048_576) == "990 MiB")
    #expect(sizeText(16_777_216) == "16 MiB")
  }
}
