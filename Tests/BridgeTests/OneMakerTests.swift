import BSON
import Bridge
import BridgeConfiguration
import DeadLetters
import Foundation
import JSON
import JetStream
import Mapping
import Operator
import Oplog
import Testing
import Verification

/// One configuration and one change of every kind, through each sink of the message maker: the pipeline's
/// lane, dry run, verification, `decode` and replay come to the same outcome, subject, headers and body.
@Suite struct OneMakerTests {
  /// Rules by name, and what goes wrong with their events.
  private static let rules = """
      - { name: letter, stream: S, match: { namespace: d.letter },
          subject: "s.letter.{fullDocument.k}", schema: n.json }
      - { name: drop, stream: S, match: { namespace: d.drop }, subject: s.drop, schema: n.json,
          on_invalid: drop }
      - { name: halt, stream: S, match: { namespace: d.halt }, subject: s.halt, schema: n.json,
          on_invalid: halt }
      - { name: budget, stream: S, match: { namespace: d.budget }, subject: s.budget,
          schema: budget.json }
      - { name: id, stream: S, match: { namespace: d.id }, subject: s.id, id: "{fullDocument.k}" }
      - { name: image, stream: S, match: { namespace: d.image }, subject: s.image,
          payload: { full_document: required } }
      - { name: filter, stream: S, match: { namespace: d.filter }, subject: s.filter,
          payload: { include: [documentKey, updateDescription.updatedFields.a] } }
      - { name: small, stream: T, match: { namespace: d.small }, subject: t.small }
      - { name: first, stream: S, match: { namespace: d.both }, subject: s.first,
          continue: true, schema: n.json }
      - { name: second, stream: S, match: { namespace: d.both }, subject: s.second }
      - { name: tries, stream: S, continue: true, subject: s.tries,
          match: { namespace: d.shared, where: { fullDocument.t: { $regex: "^(?=(a+)+$)b" } } } }
      - { name: also, stream: S, continue: true, subject: s.also,
          match: { namespace: d.shared, where: { fullDocument.t: { $regex: "^(?=(a+)+$)b" } } } }
      - { name: cheap, stream: S, continue: true, subject: s.cheap,
          match: { namespace: d.shared, where: { operationType: insert } } }
      - { name: rest, stream: S, match: { namespace: d.shared }, subject: s.rest }
      - { name: whole, stream: S, match: { namespace: "e.*", operations: [drop, rename, create,
          drop_database] },
          subject: "s.ddl.{operationType}" }
    """

  private static func configuration(_ unmatched: String) throws -> BridgeConfiguration {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("maker-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    for (name, schema) in [
      ("n", #"{"properties":{"fullDocument":{"properties":{"n":{"type":"integer"}}}}}"#),
      (
        "budget",
        #"{"properties":{"fullDocument":{"properties":{"t":{"pattern":"^(?=(a+)+$)b"}}}}}"#
      ),
    ] {
      try schema.write(
        to: folder.appendingPathComponent("\(name).json"), atomically: true, encoding: .utf8)
    }
    return try BridgeConfiguration.parse(
      yaml: """
        source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
        streams: [{ name: S, subjects: [s.>] }, { name: T, subjects: [t.>], max_msg_size: 2000 }]
        unmatched: \(unmatched)
        rules:
        \(rules)
        dead_letter: { stream: DLQ, subject: "dlq.{rule}.{error}" }
        """, file: folder.path + "/t.yaml", environment: [:])
  }

  /// An oplog entry, and the outcomes of its event: `sent:<rule>`, `letter:<rule>:<error>`,
  /// `drop:<rule>:<error>`, `halt:<rule>:<error>`, `filtered:<rule>`.
  private static let changes: [(entry: String, outcomes: [String])] = [
    (insert("letter", #""k":"a","n":1"#), ["sent:letter"]),
    (insert("letter", #""k":"a","n":"x""#), ["letter:letter:schema_invalid"]),
    (insert("letter", #""n":1"#), ["letter:letter:path_missing"]),
    (insert("letter", #""k":"\#(text(256))","n":1"#), ["letter:letter:subject_invalid"]),
    (
      insert("letter", #""k":"a","n":1,"t":"\#(text(1_100_000))""#),
      ["letter:letter:payload_too_large"]
    ),
    (insert("letter", #""k":"a","n":1"#, id: text(66_000)), ["letter:letter:headers_too_large"]),
    (insert("drop", #""n":1"#), ["sent:drop"]),
    (insert("drop", #""n":"x""#), ["drop:drop:schema_invalid"]),
    (insert("halt", #""n":1"#), ["sent:halt"]),
    (insert("halt", #""n":"x""#), ["halt:halt:schema_invalid"]),
    (insert("budget", #""t":"\#(text(60))c""#), ["letter:budget:too_complex"]),
    (insert("id", #""k":"one""#), ["sent:id"]),
    (insert("id", #""k":"""#), ["letter:id:id_invalid"]),
    (insert("id", #""k":"\#(text(2000))""#), ["letter:id:id_invalid"]),
    (update("image", #"{"u":{"a":1}}"#), ["letter:image:image_missing"]),
    (update("filter", #"{"u":{"a":1}}"#), ["sent:filter"]),
    (update("filter", #"{"u":{"b":1}}"#), ["filtered:filter"]),
    (insert("small", #""t":"\#(text(100))""#), ["sent:small"]),
    (insert("small", #""t":"\#(text(3000))""#), ["letter:small:payload_too_large"]),
    (insert("both", #""n":1"#), ["sent:first", "sent:second"]),
    (insert("both", #""n":"x""#), ["letter:first:schema_invalid", "sent:second"]),
    (insert("shared", #""t":"b""#), ["sent:cheap", "sent:rest"]),
    // The first condition uses up what all of them share.
    (
      insert("shared", #""t":"\#(text(60))c""#),
      ["letter:tries:too_complex", "letter:also:too_complex", "sent:cheap", "sent:rest"]
    ),
    (command("e.$cmd", #"{"drop":"c"}"#), ["sent:whole"]),
    (command("e.$cmd", #"{"dropDatabase":1}"#), ["sent:whole"]),
    (insert("nobody", #""n":1"#), ["unmatched"]),
  ]

  private static func text(_ count: Int) -> String { String(repeating: "a", count: count) }

  private static func insert(_ collection: String, _ fields: String, id: String = "i") -> String {
    let document = #"{"_id":"\#(id)",\#(fields)}"#
    return #""op":"i","ns":"d.\#(collection)","o":\#(document),"o2":{"_id":"\#(id)"}"#
  }

  private static func update(_ collection: String, _ diff: String) -> String {
    #""op":"u","ns":"d.\#(collection)","o":{"$v":2,"diff":\#(diff)},"o2":{"_id":"i"}"#
  }

  private static func command(_ namespace: String, _ command: String) -> String {
    #""op":"c","ns":"\#(namespace)","o":\#(command)"#
  }

  private static func line(_ change: String, _ number: Int) -> String {
    #"""
    {\#(change),"ui":{"$binary":{"base64":"EBESExQVFhcYGRobHB0eHw==","subType":"04"}},
    "ts":{"$timestamp":{"t":1732360000,"i":\#(number)}},"t":{"$numberLong":"1"},"v":{"$numberLong":"2"},
    "wall":{"$date":"2024-11-23T11:06:40.123Z"}}
    """#.replacing("\n", with: "")
  }

  /// One change's event, while it is valid.
  private static func withEvent(
    _ change: String, _ number: Int, isSnapshot: Bool = false, _ body: (ChangeEvent) throws -> Void
  ) throws {
    let bytes = try ExtendedJSON.bson(line(change, number), as: .printed)
    try bytes.withUnsafeBytes { bytes in
      var decoder = OplogDecoder()
      _ = try decoder.begin(try BSONView(bytes))
      while var event = try decoder.next() {
        event.isSnapshot = isSnapshot
        try body(event)
      }
    }
  }

  // MARK: - Outcomes

  /// What one sink came to.
  private struct Made: Equatable {
    var outcome: String
    var subject: [UInt8] = []
    var headers: [UInt8] = []
    var body: [UInt8] = []
  }

  private static func outcome(
    _ step: MessageMaker.Step, _ configuration: BridgeConfiguration
  ) -> String? {
    func name(_ rule: Int?) -> String { rule.map { configuration.rules[$0].name } ?? "-" }
    return switch step {
    case .sent(let rule): "sent:\(name(rule))"
    case .deadLetter(let rule, let error): "letter:\(name(rule)):\(error.code.rawValue)"
    case .dropped(let rule, let error): "drop:\(name(rule)):\(error.code.rawValue)"
    case .filtered(let rule): "filtered:\(name(rule))"
    case .halt(.invalid(let rule, let error)): "halt:\(name(rule)):\(error.code.rawValue)"
    case .halt(.unmatched): "halt:-"
    case .halt(.letterTooLarge): "halt:letter"
    case .unmatched: "unmatched"
    case .invalid: nil
    case .passed, .full: "?"
    }
  }

  /// The outcomes until the bridge halts.
  private static func outcomes<Sink: MessageSink & ~Copyable>(
    _ event: ChangeEvent, _ configuration: BridgeConfiguration, _ sink: inout Sink,
    _ parts: (inout Sink) -> Made
  ) -> [Made] {
    var maker = MessageMaker(configuration, sourceName: "rs0")
    var cursor = maker.begin(event)
    var all: [Made] = []
    while !cursor.isDone {
      let step = maker.step(event, &cursor, into: &sink)
      guard let outcome = outcome(step, configuration) else { continue }
      var made = Made(outcome: outcome)
      switch step {
      case .sent, .deadLetter:
        made = parts(&sink)
        made.outcome = outcome
      default: break
      }
      all.append(made)
      if case .halt = step { return all }
    }
    return all
  }

  private static func inMemory(
    _ event: ChangeEvent, _ configuration: BridgeConfiguration
  ) -> [Made] {
    var sink = BufferSink(configuration, maximumPayload: 1 << 20)
    return outcomes(event, configuration, &sink) {
      Made(
        outcome: "", subject: Array($0.subject), headers: Array($0.headers), body: Array($0.body))
    }
  }

  /// The pipeline's way to write, without its decisions.
  private struct Lanes: LaneWriting, ~Copyable {
    let publisher = PublishLane(
      LaneOptions(
        stream: "S", mode: .chain, exclusive: true, baseSequence: 0, inbox: "_INBOX.x",
        batchPrefix: "b"))
    let configuration: BridgeConfiguration
    var limits = MessageLimits(maximumPayload: 1 << 20)

    mutating func admit(
      _ message: PlannedMessage, of event: borrowing ChangeEvent, _ mapper: inout Mapper
    ) -> Admission {
      let isSmall =
        !message.isLetter && message.rule.map { configuration.rules[$0].name } == "small"
      limits = MessageLimits(
        maximumPayload: 1 << 20, maximumMessage: isSmall ? 2000 : nil)
      return .write
    }

    mutating func commit(_ message: PlannedMessage, of event: borrowing ChangeEvent) {
      publisher.endMessage()
    }

    /// Takes the protocol line apart, and the protocol's headers off.
    mutating func parts() -> Made {
      let line = Array(publisher.output.bytes)
      publisher.output.removeAll()
      let end = line.firstIndex(of: 13) ?? 0
      let words = line[..<end].split(separator: UInt8(ascii: " ")).map { Array($0) }
      let size = Int(String(decoding: words[3], as: UTF8.self)) ?? 0
      let block = line[(end + 2)..<(end + 2 + size)]
      let headers = String(decoding: block, as: UTF8.self).components(separatedBy: "\r\n")
        .dropFirst().filter { !$0.isEmpty && !$0.hasPrefix("Nats-Expected-") }
        .map { $0 + "\r\n" }.joined()
      return Made(
        outcome: "", subject: words[1], headers: Array(headers.utf8),
        body: Array(line[(end + 2 + size)..<(line.count - 2)]))
    }
  }

  private static func onLanes(
    _ event: ChangeEvent, _ configuration: BridgeConfiguration
  ) -> [Made] {
    var sink = Lanes(configuration: configuration)
    return outcomes(event, configuration, &sink) { $0.parts() }
  }

  private static func isMade(_ made: Made) -> Bool {
    made.outcome.hasPrefix("sent") || made.outcome.hasPrefix("letter:")
  }

  // MARK: - Tests

  @Test(arguments: ["ignore", "dead_letter", "halt"], [false, true])
  func `every way to a message leads to the same`(
    _ unmatched: String, isSnapshot: Bool
  ) throws {
    let configuration = try Self.configuration(unmatched)
    let names = Dictionary(
      uniqueKeysWithValues: configuration.rules.enumerated().map { ($1.name, $0) })
    for (number, change) in Self.changes.enumerated() {
      try Self.withEvent(change.entry, number + 1, isSnapshot: isSnapshot) { event in
        let reference = Self.inMemory(event, configuration)
        let place = Comment(rawValue: "\(change.entry.prefix(80)) \(change.outcomes)")
        // Snapshots have inserts alone; other operations are mapped as ever.
        let expected = change.outcomes.map { outcome in
          guard outcome == "unmatched" else { return outcome }
          return ["ignore": "unmatched", "dead_letter": "letter:-:unmatched"][unmatched] ?? "halt:-"
        }
        #expect(reference.map(\.outcome) == expected, place)
        #expect(Self.onLanes(event, configuration) == reference, place)

        // Verification continues behind what would halt the bridge.
        let deriver = ExpectedMessages(
          configuration, sourceName: "rs0",
          limits: [
            MessageLimits(maximumPayload: 1 << 20),
            MessageLimits(maximumPayload: 1 << 20, maximumMessage: 2000),
            MessageLimits(maximumPayload: 1 << 20),
          ])
        var derived: [Made] = []
        deriver.derive(event) { message in
          let name = message.rule.map { configuration.rules[$0].name } ?? "-"
          derived.append(
            Made(
              outcome: message.error.map { "letter:\(name):\($0.code.rawValue)" } ?? "sent:\(name)",
              subject: Array(message.subject), headers: Array(message.headers),
              body: Array(message.body)))
        }
        #expect(derived == reference.filter(Self.isMade), place)
        func count(_ kind: String) -> UInt64 {
          UInt64(reference.count { $0.outcome.hasPrefix(kind) })
        }
        #expect(deriver.dropped == count("drop"), place)
        #expect(deriver.halts == count("halt"), place)

        var coverage = EventCoverage(
          configuration, sourceName: "rs0", maximumPayload: 1 << 20)
        coverage.take(event)
        for (name, rule) in names {
          let counts = coverage.counts(rule: rule)
          #expect(counts.messages == count("sent:\(name)"), place)
          #expect(counts.filtered == count("filtered:\(name)"), place)
          let invalid = count("letter:\(name):") + count("drop:\(name):") + count("halt:\(name):")
          #expect(counts.invalid == invalid, place)
        }
        #expect(coverage.halts == count("halt"), place)
        #expect(coverage.unmatched == (change.outcomes == ["unmatched"] ? 1 : 0), place)

        try Self.replay(event, reference, configuration, place)
      }
      guard !isSnapshot else { continue }
      try Self.decode(change.entry, number + 1, configuration)
    }
  }

  /// What the bridge sent is what a replay of the event under that id sends; what it couldn't, neither.
  private static func replay(
    _ event: ChangeEvent, _ reference: [Made], _ configuration: BridgeConfiguration,
    _ place: Comment
  ) throws {
    for made in reference {
      let words = made.outcome.split(separator: ":").map(String.init)
      guard words.count > 1, words[1] != "-" else { continue }
      var maker = ReplayMaker(configuration, sourceName: "rs0", maximumPayload: 1 << 20)
      let id = String(decoding: made.headers.dropFirst(13).prefix { $0 != 13 }, as: UTF8.self)
      do throws(MappingError) {
        let again = try maker.message(of: event, letterID: id, letterRule: words[1])
        #expect(words[0] == "sent", place)
        #expect(again.subject == made.subject, place)
        #expect(again.headers == made.headers, place)
        #expect(again.body == made.body, place)
      } catch {
        let code = words[0] == "filtered" ? "unmatched" : words.last
        #expect(error.code.rawValue == code && words[0] != "sent", place)
      }
    }
  }

  private static func decode(
    _ change: String, _ number: Int, _ configuration: BridgeConfiguration
  ) throws {
    var texts: [JSONValue] = []
    var failure: OfflineDecoder.Failure?
    let decoder = OfflineDecoder(.messages(configuration))
    do throws(OfflineDecoder.Failure) {
      try decoder.decode(line(change, number)) { text in
        if let value = try? JSONValue(parsing: text.utf8) { texts.append(value) }
      }
    } catch {
      failure = error
    }
    try withEvent(change, number) { event in
      let reference = inMemory(event, configuration)
      let made = reference.filter(isMade)
      #expect(texts.count == made.count)
      for (text, made) in zip(texts, made) {
        #expect(text["subject"]?.stringValue == String(decoding: made.subject, as: UTF8.self))
        let headers = String(decoding: made.headers, as: UTF8.self)
        guard case .object(let members)? = text["headers"] else {
          Issue.record("no headers")
          continue
        }
        #expect(
          members.map { "\($0.key): \($0.value.stringValue ?? "")\r\n" }.joined() == headers)
        #expect(text["body"] == (try? JSONValue(parsing: made.body)))
      }
      let halts = reference.contains { $0.outcome.hasPrefix("halt") }
      #expect((failure != nil) == halts, "\(failure?.description ?? "")")
      if halts { #expect(failure?.reason.contains("halt") == true) }
    }
  }

  @Test func `a sink can refuse, pass, check and be full`() throws {
    struct Choosing: MessageSink, ~Copyable {
      var buffer: BufferSink
      var answers: [Admission]
      var committed: [PlannedMessage] = []
      var cancelled = 0

      mutating func admit(
        _ message: PlannedMessage, of event: borrowing ChangeEvent, _ mapper: inout Mapper
      ) -> Admission { answers.isEmpty ? .write : answers.removeFirst() }

      var limits: MessageLimits { buffer.limits }
      var output: ByteWriter {
        _read { yield buffer.output }
        _modify { yield &buffer.output }
      }
      mutating func begin(_ message: PlannedMessage) { buffer.begin(message) }
      mutating func beginHeaders() { buffer.beginHeaders() }
      mutating func beginBody() { buffer.beginBody() }
      var size: Int { buffer.size }
      var body: UnsafeRawBufferPointer { buffer.body }
      mutating func commit(_ message: PlannedMessage, of event: borrowing ChangeEvent) {
        committed.append(message)
      }
      mutating func cancel() { cancelled += 1 }
    }
    func steps(_ rule: String, _ fields: String, _ answers: [Admission]) throws -> (
      [String], [PlannedMessage], Int
    ) {
      let configuration = try Self.configuration("ignore")
      var sink = Choosing(
        buffer: BufferSink(configuration, maximumPayload: 1 << 20), answers: answers)
      var said: [String] = []
      try Self.withEvent(Self.insert(rule, fields), 1) { event in
        var maker = MessageMaker(configuration, sourceName: "rs0")
        var cursor = maker.begin(event)
        while !cursor.isDone {
          switch maker.step(event, &cursor, into: &sink) {
          case .full: said.append("full")
          case .passed: said.append("passed")
          case .invalid: said.append("invalid")
          case let step:
            said.append(Self.outcome(step, configuration) ?? "")
            if case .halt = step { return }
          }
        }
      }
      return (said, sink.committed, sink.cancelled)
    }
    let conflict = Admission.refuse(MappingError(.idConflict, "taken"))
    let refused = Admission.refuse(MappingError(.refused, "no"))
    let valid = #""k":"a","n":1"#
    #expect(try steps("letter", valid, [.full, .write]).0 == ["full", "sent:letter"])
    #expect(try steps("letter", valid, [.pass]).0 == ["passed"])
    let checked = try steps("letter", valid, [.check])
    #expect(checked.0 == ["passed"] && checked.1.isEmpty && checked.2 == 1)
    // What can't be made is found out, and its letter waits as long as it must.
    let late = try steps("letter", #""k":"a","n":"x""#, [.check, .full, .full, .write])
    #expect(late.0 == ["invalid", "full", "full", "letter:letter:schema_invalid"])
    #expect(late.1 == [PlannedMessage(rule: 0, match: 0, isLetter: true)] && late.2 == 1)
    #expect(try steps("letter", valid, [conflict]).0 == ["invalid", "letter:letter:id_conflict"])
    #expect(try steps("drop", valid, [refused]).0 == ["invalid", "drop:drop:refused"])
    // The policy for ids is another one.
    #expect(try steps("drop", valid, [conflict]).0 == ["invalid", "letter:drop:id_conflict"])
    #expect(try steps("halt", valid, [refused]).0 == ["invalid", "halt:halt:refused"])
    #expect(
      try steps("both", valid, [.pass, .full, .write]).0 == ["passed", "full", "sent:second"])
  }
}
