import BSON
public import Bridge
public import BridgeConfiguration
import Foundation
import JSON
import JetStream
public import Logging
import Mapping
import NATS
import NIOCore
import NIOPosix
import Oplog
import Parity
import SeededNumbers

/// `tailrace verify selftest`: fills a scratch stream of the real server with messages of made-up
/// changes, spoils it in every way there is a class for, and demands that the verification finds and
/// rightly names each fault, and nothing where there is none.
public struct Selftest: Sendable {
  public struct Result: Sendable {
    /// `clean`, or the fault's name.
    public var fault: String
    public var rounds = 0
    public var found = 0
    /// What was found instead, in the first round that failed.
    public var failure: String?

    public var isGood: Bool { found == rounds }
  }

  private let configuration: BridgeConfiguration
  private let logger: Logger
  private let rounds: Int
  private let seed: UInt64

  public init(_ configuration: BridgeConfiguration, rounds: Int, seed: UInt64, logger: Logger) {
    self.configuration = configuration
    self.rounds = rounds
    self.seed = seed
    self.logger = logger
  }

  /// Ends early where its task is cancelled: the results of what was done by then.
  public func run(_ told: @Sendable (Result) -> Void) async throws(BridgeError) -> [Result] {
    let stream = ScratchStream.newName()
    let scratch = try scratchConfiguration(stream)
    var results: [Result] = []
    var random = SeededRandom(seed: seed)
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      let place = ScratchStream(jetStream, name: stream)
      var failure: BridgeError?
      do {
        for fault in [nil] + SelftestFault.allCases.map({ Optional($0) }) {
          var result = Result(fault: fault?.rawValue ?? "clean")
          for _ in 0..<rounds {
            try Task.checkCancellation()
            let failure = try await round(fault, place, scratch, jetStream, &random)
            result.rounds += 1
            if failure == nil { result.found += 1 }
            result.failure = result.failure ?? failure
          }
          results.append(result)
          told(result)
        }
      } catch {
        if !Task.isCancelled { failure = .unavailable("\(error)") }
      }
      await place.cleanUp()
      if let failure { throw failure }
    }
    return results
  }

  /// What was found instead of what should have been; nil where all is well.
  private func round(
    _ fault: SelftestFault?, _ place: ScratchStream, _ scratch: BridgeConfiguration,
    _ jetStream: JetStreamClient, _ random: inout SeededRandom
  ) async throws -> String? {
    let entries = try SelftestEntries.make(&random)
    let changes = RecordedChanges(entries)
    let spoilt = SpoiltMessages(try await messages(of: changes, scratch), fault, &random)
    try await fill(place, spoilt, jetStream)
    let verification = EventVerification(
      configuration: scratch, options: VerifyOptions(), logger: logger)
    var streams: [VerifyStream] = []
    for name in place.names {
      guard let info = try await jetStream.stream(name) else { continue }
      streams.append(
        VerifyStream(
          name: name, info: info, first: max(1, info.firstSequence), floor: nil,
          isDeadLetter: name != place.name, isShared: false))
    }
    let plan = VerifyPlan(
      range: SelftestEntries.range, streams: streams, sourceName: "selftest",
      configurationHash: scratch.hash(sourceName: "selftest"))
    var report = VerifyReport(level: "events", configuration: scratch)
    _ = try await verification.compare(
      plan, jetStream, changes, nil, until: .now, &report, { _ in })
    report.finish()
    let found = MismatchClass.allCases.reduce(into: [MismatchClass: UInt64]()) { found, kind in
      if report.counts[kind] > 0 { found[kind] = report.counts[kind] }
    }
    let verdict: VerifyReport.Verdict = fault == nil ? .pass : .fail
    if found == spoilt.wanted, report.verdict == verdict { return nil }
    return
      "\(report.verdict.rawValue), found \(Self.words(found)), should have found \(Self.words(spoilt.wanted)) \(report.reasons.joined(separator: "; "))"
  }

  private static func words(_ counts: [MismatchClass: UInt64]) -> String {
    counts.isEmpty
      ? "nothing"
      : counts.map { "\($0.value) \($0.key.rawValue)" }.sorted().joined(separator: ", ")
  }

  // MARK: The scratch stream

  private func messages(
    of changes: RecordedChanges, _ scratch: BridgeConfiguration
  ) async throws -> [ScratchMessage] {
    let collected = CollectedMessages(scratch)
    try await changes.walk(
      SelftestEntries.range, on: MultiThreadedEventLoopGroup.singleton.next(),
      mayContinue: { true }, { collected.take($0) })
    return collected.messages
  }

  private func fill(
    _ place: ScratchStream, _ spoilt: SpoiltMessages, _ jetStream: JetStreamClient
  ) async throws {
    try await place.make()
    let stream = place.name
    let connection = jetStream.connection
    for message in spoilt.messages {
      if message.waits {
        try await publishAgain(message, jetStream)
      } else {
        try await connection.publish(
          message.subject, headers: message.headers, payload: message.body)
      }
    }
    try await connection.flush()
    let deadline = ContinuousClock.now + .seconds(10)
    while try await jetStream.stream(stream)?.lastSequence ?? 0 < UInt64(spoilt.messages.count) {
      guard ContinuousClock.now < deadline else {
        throw RangeFailure(description: "the scratch stream did not take all messages")
      }
      try await Task.sleep(for: .milliseconds(10))
    }
    for sequence in spoilt.removed {
      _ = try await jetStream.deleteMessage(in: stream, at: sequence)
    }
  }

  /// Until the server has forgotten that it has it already.
  private func publishAgain(_ message: ScratchMessage, _ jetStream: JetStreamClient) async throws {
    for _ in 0..<100 {
      try await Task.sleep(for: .milliseconds(60))
      let ack = try await jetStream.publish(
        message.subject, headers: message.headers, payload: message.body)
      if !ack.isDuplicate { return }
    }
    throw RangeFailure(description: "the server's dedup window does not end")
  }

  /// Rules and a schema of its own; of the user's configuration, only the way to NATS.
  private func scratchConfiguration(_ stream: String) throws(BridgeError) -> BridgeConfiguration {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(stream)
    defer { try? FileManager.default.removeItem(at: folder) }
    do {
      // Nobody else's folder, whatever is there.
      try FileManager.default.createDirectory(
        at: folder, withIntermediateDirectories: false,
        attributes: [.posixPermissions: NSNumber(value: 0o700)])
      let schema = folder.appendingPathComponent("schema.json")
      try Data(SelftestEntries.schema.utf8).write(to: schema)
      let yaml = SelftestEntries.configuration(stream, schema: schema.path)
      var scratch = try BridgeConfiguration.parse(
        yaml: yaml, file: "selftest", environment: [:])
      scratch.nats = configuration.nats
      return scratch
    } catch {
      throw .configuration("the self-test's own configuration: \(error)")
    }
  }
}

/// Sendable invariant: filled by one walk, on one event loop, and read after it.
private final class CollectedMessages: @unchecked Sendable {
  private let deriver: ExpectedMessages
  private(set) var messages: [ScratchMessage] = []

  init(_ configuration: BridgeConfiguration) {
    deriver = ExpectedMessages(
      configuration, sourceName: "selftest",
      limits: Array(repeating: MessageLimits(maximumPayload: 1 << 20), count: 2))
  }

  func take(_ event: ChangeEvent) {
    deriver.derive(event) { message in
      let headers = NATSHeaders(
        HeaderLines.fields(String(decoding: message.headers, as: UTF8.self)))
      messages.append(
        ScratchMessage(
          subject: String(decoding: message.subject, as: UTF8.self), headers: headers,
          body: Array(message.body)))
    }
  }
}

/// Changes that never happened: inserts, updates, deletions and transactions of one collection.
private enum SelftestEntries {
  static let schema = """
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
     "required": ["operationType", "documentKey", "version"],
     "properties": {"version": {"const": 2}}}
    """

  static func configuration(_ stream: String, schema: String) -> String {
    """
    source: { uri: "mongodb://127.0.0.1/?replicaSet=selftest", name: selftest }
    nats: { servers: ["nats://127.0.0.1"] }
    bridge: { name: selftest }
    streams: [{ name: \(stream), subjects: ["\(ScratchStream.subject(stream)).>"] }]
    rules:
      - name: things
        match: { namespace: selftest.things }
        subject: "\(ScratchStream.subject(stream)).{operationType}.{documentKey._id}"
        payload: { set: { version: 2, text: "~" } }
        schema: \(schema)
    dead_letter:
      stream: \(ScratchStream.letters(stream))
      subject: "\(ScratchStream.subject(ScratchStream.letters(stream))).{rule}"
    """
  }

  static let range =
    EventPosition(
      entry: OplogPosition(seconds: 1000, increment: 1), index: 0)...EventPosition(
      entry: OplogPosition(seconds: 3000, increment: 1), index: .max)

  static func make(_ random: inout SeededRandom) throws -> [[UInt8]] {
    var entries: [[UInt8]] = []
    var increment = 0
    let count = Int.random(in: 20...300, using: &random)
    while entries.count < count {
      increment += 1
      let time = #"{"$timestamp":{"t":2000,"i":\#(increment)}}"#
      var operation = operation(&random)
      if Int.random(in: 0..<10, using: &random) == 0 {
        let inner = (0..<Int.random(in: 2...20, using: &random)).map { _ in
          "{\(Self.operation(&random))}"
        }
        operation = """
          "op":"c","ns":"admin.$cmd","o":{"applyOps":[\(inner.joined(separator: ","))]},
          "lsid":{"id":{"$uuid":"10111213-1415-1617-1819-1a1b1c1d1e1f"}},
          "txnNumber":{"$numberLong":"\(increment)"},
          "prevOpTime":{"ts":{"$timestamp":{"t":0,"i":0}},"t":{"$numberLong":"-1"}}
          """
      }
      entries.append(
        try ExtendedJSON.bson(
          """
          {\(operation),"ts":\(time),"t":{"$numberLong":"1"},"v":{"$numberLong":"2"},
           "wall":{"$date":"2024-11-23T11:06:40.123Z"}}
          """))
    }
    return entries
  }

  private static func operation(_ random: inout SeededRandom) -> String {
    let id = Int.random(in: 0..<50, using: &random)
    let value = UInt32.random(in: 0...UInt32.max, using: &random)
    let head =
      #""ns":"selftest.things","ui":{"$binary":{"base64":"EBESExQVFhcYGRobHB0eHw==","subType":"04"}}"#
    switch Int.random(in: 0..<4, using: &random) {
    case 0:
      return #""op":"u",\#(head),"o":{"$v":2,"diff":{"u":{"n":\#(value)}}},"o2":{"_id":\#(id)}"#
    case 1: return #""op":"d",\#(head),"o":{"_id":\#(id)}"#
    default:
      return #""op":"i",\#(head),"o":{"_id":\#(id),"n":\#(value)},"o2":{"_id":\#(id)}"#
    }
  }
}
