import BSON
import JetStream
import NATS
import NIOCore
import TestServers

/// Which protocols a server has.
func modes(_ version: String) -> [PublishProtocol] {
  let number = NATSVersion(version) ?? NATSVersion(0, 0)
  var modes: [PublishProtocol] = [.chain, .single]
  if number >= NATSVersion(2, 12, 1) { modes.append(.atomic) }
  if number >= NATSVersion(2, 14) { modes.append(.fast) }
  return modes
}

/// Publishes through one lane over a real connection: what the pipeline does, without a source.
///
/// Sendable invariant: everything is touched on the connection's event loop only.
final class Driver: NATSRawHandler, @unchecked Sendable {
  let connection: NATSConnection
  let lane: PublishLane
  let inbox: String
  private let count: Int
  private let id: @Sendable (Int) -> String
  private let body: @Sendable (Int) -> [UInt8]
  private var next = 0
  private(set) var duplicates = 0
  /// Messages that the stream's leader was asked for.
  private(set) var leaderReads = 0
  /// Ids that it was asked for.
  private(set) var questions = 0
  private(set) var conflicts: [LaneProgress.Conflict] = []
  /// What was said to be stored last, and where.
  private(set) var lastStored: (message: Int, sequence: UInt64)?
  private var settled = 0
  /// Called once, before the first messages are published, or behind so many of them.
  var beforePublishing: (@Sendable () async throws -> Void)?
  var publishedBefore = 0
  private let done: EventLoopPromise<Void>

  init(
    _ connection: NATSConnection, _ mode: PublishProtocol, base: UInt64, count: Int,
    exclusive: Bool = true, screening: LaneOptions.Screening = .never, judge: DuplicateJudge? = nil,
    direct: Bool = false, known: StoredIDs? = nil, fence: LaneOptions.Fence? = nil,
    body: @escaping @Sendable (Int) -> [UInt8] = { Array("{\"n\":\($0)}".utf8) },
    id: @escaping @Sendable (Int) -> String
  ) {
    self.connection = connection
    self.count = count
    self.id = id
    inbox = "_IN.\(UInt64.random(in: 0...UInt64.max))"
    self.body = body
    var options = LaneOptions(
      stream: "T", mode: mode, exclusive: exclusive, baseSequence: base, inbox: inbox,
      batchPrefix: String(UInt64.random(in: 0...UInt64.max), radix: 36), window: 100,
      screening: screening, judge: judge)
    options.readsDirectly = direct
    options.known = known
    options.fence = fence
    lane = PublishLane(options)
    done = connection.eventLoop.makePromise()
  }

  func run() async throws {
    connection.eventLoop.execute {
      _ = self.connection.subscribeRaw("\(self.inbox).>", handler: self)
      self.pump()
    }
    try await done.futureResult.get()
  }

  func readFromLeader() {
    connection.eventLoop.execute {
      self.lane.readFromLeader()
      self.pump()
    }
  }

  private func pump() {
    while next < count, lane.canSend {
      lane.beginMessage()
      lane.output.append("t.\(next % 7)")
      lane.beginHeaders()
      lane.output.append("Nats-Msg-Id: \(id(next))\r\n")
      lane.beginBody()
      lane.output.append(body(next))
      lane.endMessage()
      next += 1
    }
    if next == count || lane.waitsForSeal { lane.seal() }
    if lane.mayFlush, lane.output.count > 0 {
      leaderReads += lines(of: lane.output.bytes, "PUB $JS.API.STREAM.MSG.GET.")
      questions += lines(of: lane.output.bytes, "Nats-Expected-Last-Msg-Id: .tailrace.no-such-id")
      let bytes = ByteBuffer(bytes: lane.output.bytes)
      lane.output.removeAll()
      if let action = beforePublishing, String(buffer: bytes).contains("{\"n\":") {
        beforePublishing = nil
        var rest = bytes
        if let first = rest.readSlice(length: length(of: publishedBefore, in: bytes)) {
          write(first)
        }
        let others = rest
        let acted = connection.eventLoop.makeFutureWithTask { try await action() }
        acted.whenSuccess { self.write(others) }
        acted.whenFailure { self.done.fail($0) }
        return
      }
      write(bytes)
    }
    if lane.acked == UInt64(count) { done.succeed(()) }
  }

  private func lines(of bytes: UnsafeRawBufferPointer, _ beginning: String) -> Int {
    let text = String(decoding: bytes, as: UTF8.self)
    return text.split(separator: "\r\n").count { $0.hasPrefix(beginning) }
  }

  private func length(of messages: Int, in bytes: ByteBuffer) -> Int {
    let places = bytes.readableBytesView.indices.filter {
      bytes.readableBytesView[$0...].starts(with: "HPUB ".utf8)
    }
    return messages < places.count ? places[messages] : bytes.readableBytes
  }

  private func write(_ bytes: ByteBuffer) {
    connection.writeRaw(bytes)
    connection.flushWrites()
  }

  func received(_ message: borrowing NATSMessageView) {
    let token = UnsafeRawBufferPointer(rebasing: message.subject[(inbox.utf8.count + 1)...])
    do {
      let progress = try lane.received(
        token: token, headers: message.headers, payload: message.payload, status: message.status)
      if let last = progress.lastStored { lastStored = (settled + last, progress.sequence) }
      settled += progress.acked
      duplicates += progress.duplicates
      conflicts += progress.conflicts
      if conflicts.isEmpty { pump() } else { done.succeed(()) }
    } catch {
      done.fail(error)
    }
  }
}
