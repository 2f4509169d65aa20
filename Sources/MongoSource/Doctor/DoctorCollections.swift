internal import BSON
internal import CMongoC

// The collections that the user may list, without scanning data: names, options and the server's
// own averages, and the newest oplog entries.

extension DoctorExaminer {
  private static let mostDatabases = 100
  private static let mostCollections = 5000
  /// One command each.
  private static let mostAverages = 200
  private static let ownDatabases: Set<String> = ["admin", "local", "config"]

  func collections() -> Answer<DoctorFacts.Collections> {
    var databases = demands.databases
    if databases.isEmpty {
      let all = ask(
        #"{"listDatabases":1,"nameOnly":true,"authorizedDatabases":true,"#
          + #""maxTimeMS":\#(Self.maxTime)}"#
      ) { reply in
        var names: [String] = []
        reply.inner("databases")?.each { names.append($0.text("name") ?? "") }
        return names.filter { !$0.isEmpty && !Self.ownDatabases.contains($0) }
      }
      switch all {
      case .known(let names):
        // For a user without privileges the list is empty, not an error.
        if names.isEmpty, isConfined { return .forbidden }
        databases = names
      case .forbidden: return .forbidden
      case .failed(let error): return .failed(error)
      case .notAsked(let why): return .notAsked(why)
      }
    }
    var found = DoctorFacts.Collections()
    if databases.count > Self.mostDatabases {
      found.incomplete = "only \(Self.mostDatabases) of \(databases.count) databases were examined"
    }
    for database in databases.prefix(Self.mostDatabases) {
      switch list(database) {
      case .known(let collections): found.all += collections
      case .forbidden: found.hidden.append(database)
      case .failed(let error): found.incomplete = error.description
      case .notAsked(let why): found.incomplete = why
      }
    }
    if demands.maxPayload != nil { addAverages(&found) }
    return .known(found)
  }

  private func list(_ database: String) -> Answer<[DoctorFacts.Collection]> {
    ask(
      #"{"listCollections":1,"cursor":{"batchSize":\#(Self.mostCollections)},"#
        + #""maxTimeMS":\#(Self.maxTime)}"#, in: database
    ) { reply in
      var collections: [DoctorFacts.Collection] = []
      reply.eachOfBatch { document in
        guard let name = document.text("name"), !name.hasPrefix("system."),
          document.text("type") != "view"
        else { return }
        let options = document.inner("options")
        collections.append(
          DoctorFacts.Collection(
            "\(database).\(name)", isTimeSeries: document.text("type") == "timeseries",
            isCapped: options?.flag("capped") ?? false,
            hasPreImages: options?.inner("changeStreamPreAndPostImages")?.flag("enabled")
              ?? false))
      }
      return collections
    }
  }

  private func addAverages(_ found: inout DoctorFacts.Collections) {
    for i in found.all.indices.prefix(Self.mostAverages) where !found.all[i].isTimeSeries {
      let namespace = found.all[i].namespace
      let dot = namespace.firstIndex(of: ".") ?? namespace.endIndex
      let average = ask(
        #"{"collStats":\#(jsonText(String(namespace[dot...].dropFirst()))),"#
          + #""maxTimeMS":\#(Self.maxTime)}"#, in: String(namespace[..<dot])
      ) { $0.number("avgObjSize") ?? 0 }
      if case .notAsked = average { return }
      found.all[i].averageSize = average.value
    }
  }

  /// The ten largest of the newest changes: of many, or of few if that takes too long.
  func largest() -> Answer<[DoctorFacts.LargeEntry]> {
    let many = largest(of: 20_000)
    if case .failed(let error) = many, error.domain == .server { return largest(of: 500) }
    return many
  }

  private func largest(of count: Int) -> Answer<[DoctorFacts.LargeEntry]> {
    ask(
      #"{"aggregate":"oplog.rs","pipeline":[{"$limit":\#(count)},"#
        + #"{"$match":{"op":{"$in":["i","u","d"]}}},"#
        + #"{"$project":{"_id":0,"ns":1,"bytes":{"$bsonSize":"$$ROOT"}}},"#
        + #"{"$sort":{"bytes":-1}},{"$limit":10}],"hint":{"$natural":-1},"cursor":{},"#
        + #""maxTimeMS":\#(Self.maxTime)}"#, in: "local"
    ) { reply in
      var entries: [DoctorFacts.LargeEntry] = []
      reply.eachOfBatch { document in
        entries.append(
          DoctorFacts.LargeEntry(
            namespace: document.text("ns") ?? "?", bytes: Int(document.number("bytes") ?? 0)))
      }
      return entries
    }
  }
}

// MARK: Reading answers

extension BSONView {
  // Nil for a value that is absent, of another type or malformed: the doctor treats them alike.
  private func value(_ key: StaticString) -> BSONElement? { (try? first(key)) ?? nil }

  func text(_ key: StaticString) -> String? { value(key)?.text }
  func flag(_ key: StaticString) -> Bool? { value(key)?.bool }
  func date(_ key: StaticString) -> Int64? { value(key)?.date }
  func inner(_ key: StaticString) -> BSONView? { value(key)?.document }
  /// A finite number of any type.
  func number(_ key: StaticString) -> Double? {
    guard let element = value(key) else { return nil }
    let number = element.double ?? element.integer.map { Double($0) }
    return number.flatMap { $0.isFinite && abs($0) < 1e18 ? $0 : nil }
  }

  /// The strings of an array.
  func texts(_ key: StaticString) -> [String] {
    var texts: [String] = []
    var walk = inner(key)?.elements()
    while let element = (try? walk?.next()) ?? nil {
      if let text = element.text { texts.append(text) }
    }
    return texts
  }

  /// The documents of an array.
  func each(_ body: (BSONView) -> Void) {
    var walk = elements()
    while let element = (try? walk.next()) ?? nil {
      if let document = element.document { body(document) }
    }
  }

  /// The documents of a cursor's first batch.
  func eachOfBatch(_ body: (BSONView) -> Void) {
    inner("cursor")?.inner("firstBatch")?.each(body)
  }
}
