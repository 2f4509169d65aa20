import BSON
import Oplog
import Testing

/// One captured scenario: the oplog entries and the events of the server's change stream (cluster-wide,
/// `showExpandedEvents` on 6.0).
@Suite struct ScenarioTests {
  /// Scenarios that must halt, with the reason.
  static let refused: [String: OplogError.Reason] = [
    // Removes documents without identifying them; change streams have no event.
    "emptycapped": .unknownCommand("emptycapped")
  ]

  @Test func eventsEqualTheServers() throws {
    var compared = 0
    var halted = 0
    try fixture("scenarios") { scenario in
      let server = try #require(try scenario.text("server"))
      let name = try #require(try scenario.text("scenario"))
      let entries = try scenario.documents(in: "entries")
      var decoder = OplogDecoder()
      if let reason = Self.refused[name] {
        let error = try #require(Self.firstError(entries, &decoder), "\(server) \(name) passed")
        #expect(error.reason == reason, "\(server) \(name)")
        #expect(error.position != nil)
        halted += 1
        return
      }
      var derived: [Event] = []
      for entry in entries { derived += try Self.comparable(entry, server, &decoder) }
      let expected = try scenario.documents(in: "events").map { try Event(server: $0) }
      #expect(derived.count == expected.count, "\(server) \(name): \(derived)")
      for (event, wanted) in zip(derived, expected) {
        let event = Self.shown(event, by: server, like: wanted)
        #expect(event == wanted, "\(server) \(name)")
        compared += 1
      }
    }
    #expect(compared == 550)
    #expect(halted == 3)
  }

  private static func firstError(
    _ entries: [BSONView], _ decoder: inout OplogDecoder
  ) -> OplogError? {
    for entry in entries {
      do { _ = try decoder.events(of: entry) } catch { return error }
    }
    return nil
  }

  /// The entry's events without those that this server's change stream omits by design.
  private static func comparable(
    _ entry: BSONView, _ server: String, _ decoder: inout OplogDecoder
  ) throws -> [Event] {
    var events = try decoder.events(of: entry)
    #expect(events.map(\.position.index) == Array(0..<UInt32(events.count)))
    #expect(events.allSatisfy { $0.position.entry == (try? ChainLink(entry).opTime.position) })
    // A user's applyOps: it changes documents, but streams have no events.
    if try entry.first("o")?.document?.first("applyOps") != nil, try entry.first("lsid") == nil {
      return []
    }
    // The drop of a rename's target: streams have only the rename.
    if events.count == 2, events[0].operation == "drop", events[1].operation == "rename" {
      #expect(events[0].namespace == events[1].to)
      let target = try entry.first("o")?.document?.first("dropTarget")?.binary
      #expect(events[0].collectionUUID == target.map { Array($0.bytes) })
      events.removeFirst()
    }
    if server.hasPrefix("6.") { return events }
    // Expanded events exist from 6.0 on: commands that change no documents, and views.
    if try entry.text("ns")?.hasSuffix(".system.views") == true { return [] }
    return events.filter {
      !["create", "createIndexes", "dropIndexes", "modify"].contains($0.operation)
    }
  }

  /// Without fields that this server's events lack: `collectionUUID` and `wallTime` before 6.0, and the
  /// index within an entry.
  private static func shown(_ event: Event, by server: String, like wanted: Event) -> Event {
    var event = event
    event.position.index = 0
    if wanted.collectionUUID == nil { event.collectionUUID = nil }
    if wanted.wallTime == nil { event.wallTime = nil }
    if server.hasPrefix("6.") { return event }
    // Older servers report renames too, but without this.
    event.operationDescription = nil
    return event
  }

  @Test func timeSeriesIsCounted() throws {
    var decoder = OplogDecoder()
    var scenarios = 0
    try fixture("scenarios") { scenario in
      guard try scenario.text("scenario")?.hasPrefix("timeseries.") == true else { return }
      scenarios += 1
      for entry in try scenario.documents(in: "entries") { _ = try decoder.events(of: entry) }
    }
    #expect(scenarios == 10)
    // Inserts and updates of buckets: three on 5.0.4, five on 6.0.27 (its buckets close by update).
    #expect(decoder.unsupportedTimeSeries == 8)
  }
}
