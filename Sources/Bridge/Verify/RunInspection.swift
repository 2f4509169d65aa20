import BSON
import BridgeConfiguration
import JSON
import JetStream
import Mapping
import NATS
import NIOCore
import Oplog
import Parity
import Synchronization

/// Something that is not as it should be, with what is needed to tell of it.
struct Finding: Sendable {
  var mismatch: Mismatch
  var digests: PartDigests
  /// The expected message, as long as there was room to keep it.
  var expected: ExpectedBytes?
}

struct ExpectedBytes: Sendable {
  var subject: String
  var headers: String
  var body: [UInt8]
}

/// The second pass: looks into suspects of one stream, message by message.
struct RunInspection: Sendable {
  let configuration: BridgeConfiguration
  let plan: VerifyPlan
  let stream: Int
  let jetStream: JetStreamClient
  let changes: any ChangeSource
  let eventLoop: any EventLoop
  let makeDeriver: @Sendable () -> MessageDeriver
  let keepsMissing: Bool

  private var name: String { plan.streams[stream].name }

  /// Bytes of expected messages that are kept for one run.
  private static let mostBytes = 32 << 20

  struct Outcome: Sendable {
    var missing: [Finding] = []
    /// Messages whose parts differ.
    var differing: [Finding] = []
    var surplus: [RunJoin.Surplus] = []
    var reordered: [Finding] = []
  }

  /// One run of neighbouring suspects.
  func inspect(_ run: StreamLedger.Run) async throws -> Outcome {
    guard let first = run.suspects.first, let last = run.suspects.last else { return Outcome() }
    let observed = try await stored(run.suspects).filter { message in
      // Neighbours that are in order are none of this run's.
      guard message.kind == .own else { return true }
      guard let position = message.position else { return false }
      return run.contains(position)
    }
    let join = JoinRun(
      observed, run, stream: stream, name: name, configuration: configuration,
      deriver: makeDeriver(), keepsMissing: keepsMissing, mostBytes: Self.mostBytes)
    // The first position may be that of the range's beginning, of which nothing is wanted.
    let floor = plan.earliest ?? plan.range.lowerBound
    let lower = max(floor, first.range.after ?? floor)
    guard lower <= last.range.last else { return Outcome() }
    try await changes.walk(
      lower...last.range.last, on: eventLoop, mayGoOn: { true }, { join.expect($0) })
    return try await eventLoop.submit { join.finish() }.get()
  }

  /// The messages of the suspects, wherever they stand.
  private func stored(_ suspects: ArraySlice<StreamLedger.Suspect>) async throws
    -> [RunJoin.Observed]
  {
    var wanted: [ClosedRange<UInt64>] = []
    for suspect in suspects {
      if let sequences = suspect.sequences { wanted.append(sequences) }
      wanted += suspect.strays.map { $0...$0 }
    }
    return try await messages(at: wanted)
  }

  func messages(at sequences: [ClosedRange<UInt64>]) async throws -> [RunJoin.Observed] {
    let sorted = sequences.sorted { $0.lowerBound < $1.lowerBound }
    var merged: [ClosedRange<UInt64>] = []
    for range in sorted {
      if let last = merged.last, range.lowerBound <= last.upperBound &+ 64 {
        merged[merged.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    let collector = DetailCollector(sorted)
    for range in merged {
      try await StreamScan(
        jetStream, stream: name, from: range.lowerBound, through: range.upperBound,
        take: { view, sequence in collector.take(view, sequence) }
      ).run()
    }
    return collector.taken
  }
}

/// Details of messages, collected on a connection's event loop.
private final class DetailCollector: Sendable {
  private let wanted: [ClosedRange<UInt64>]
  private let found = Mutex<[RunJoin.Observed]>([])

  init(_ wanted: [ClosedRange<UInt64>]) { self.wanted = wanted }

  func take(_ view: borrowing NATSMessageView, _ sequence: UInt64) {
    guard wanted.contains(where: { $0.contains(sequence) }) else { return }
    var parser = StoredMessageParser()
    let detail = parser.detail(view, sequence: sequence)
    found.withLock { $0.append(detail) }
  }

  var taken: [RunJoin.Observed] { found.withLock { $0 } }
}

/// Sendable invariant: touched on one event loop only.
private final class JoinRun: @unchecked Sendable {
  private var join: RunJoin
  private let run: StreamLedger.Run
  private let stream: Int
  private let name: String
  private let configuration: BridgeConfiguration
  private let deriver: MessageDeriver
  private let keepsMissing: Bool
  private var bytesLeft: Int
  private var outcome = RunInspection.Outcome()

  init(
    _ observed: [RunJoin.Observed], _ run: StreamLedger.Run, stream: Int, name: String,
    configuration: BridgeConfiguration, deriver: MessageDeriver, keepsMissing: Bool, mostBytes: Int
  ) {
    join = RunJoin(observed, apart: run.apart)
    self.run = run
    self.stream = stream
    self.name = name
    self.configuration = configuration
    self.deriver = deriver
    self.keepsMissing = keepsMissing
    bytesLeft = mostBytes
  }

  func expect(_ event: ChangeEvent) {
    guard run.contains(event.position) else { return }
    deriver.derive(event) { message in
      guard message.stream == stream else { return }
      let digests = PartDigests(
        subject: MessageDigest(message.subject), headers: MessageDigest(message.headers),
        body: MessageDigest(message.body))
      let id = message.id.map { String(decoding: $0, as: UTF8.self) } ?? ""
      switch join.expect(id: id, digests) {
      case .equal: break
      case .missing:
        outcome.missing.append(
          finding(.missing, message, id, digests, sequence: nil, keeps: keepsMissing))
      case .differs(let sequence, let subject, let headers, let body):
        var found = finding(.payloadMismatch, message, id, digests, sequence: sequence, keeps: true)
        let parts = [subject ? "subject" : nil, headers ? "headers" : nil, body ? "body" : nil]
        found.mismatch.detail = "differs in \(parts.compactMap { $0 }.joined(separator: ", "))"
        outcome.differing.append(found)
      }
    }
  }

  private func finding(
    _ kind: MismatchClass, _ message: DerivedMessage, _ id: String, _ digests: PartDigests,
    sequence: UInt64?, keeps: Bool
  ) -> Finding {
    let subject = String(decoding: message.subject, as: UTF8.self)
    var found = Finding(
      mismatch: Mismatch(
        kind: kind, id: id, position: message.position,
        rule: message.rule.map { configuration.rules[$0].name } ?? "", subject: subject,
        stream: name, sequence: sequence, detail: ""), digests: digests)
    let size = message.headers.count + message.body.count
    if keeps, bytesLeft >= size {
      bytesLeft -= size
      found.expected = ExpectedBytes(
        subject: subject, headers: String(decoding: message.headers, as: UTF8.self),
        body: Array(message.body))
    }
    return found
  }

  func finish() -> RunInspection.Outcome {
    outcome.surplus = join.surplus()
    outcome.reordered = join.reordered().map { message in
      Finding(
        mismatch: Mismatch(
          kind: .reordered, id: message.id, position: message.position, rule: message.rule,
          subject: message.subject, stream: name, sequence: message.sequence,
          detail: "it stands behind messages of later changes"), digests: message.digests)
    }
    return outcome
  }
}
