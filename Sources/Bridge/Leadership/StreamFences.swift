import DeliberateErrors
import JSON
import JetStream
import Logging
import NATS
import NIOCore
import Synchronization

/// The fences of an epoch's streams: what a publisher asserts on streams where others publish as well, so that their
/// sequences say nothing.
///
/// A fence is the last message on a subject of the stream that only this bridge writes to; that there is none yet is one,
/// too. It is moved by compare-and-set before the streams' ends are read, unless nothing of an earlier epoch can be on
/// its way. Whatever asserts the one before is refused from then on, however late it arrives.
struct StreamFences: Sendable {
  let bridge: String
  let instance: String
  /// The number of the connection's epoch.
  let number: UInt64
  let jetStream: JetStreamClient
  let logger: Logger
  let book: FenceBook
  let board: StatusBoard

  /// The lease ran out meanwhile.
  struct LeaseLapsed: Error {}

  /// From this version on, a message can assert the sequence of another subject than its own.
  static let firstServer = NATSVersion(2, 11, 0)

  /// The streams with their fences, moved where that is necessary.
  ///
  /// - Parameter mayHaveStragglers: whether messages for the stream may still be on their way.
  /// - Returns: also whether one was moved, so that what was read of the streams before is out of date.
  /// - Throws: `LeaseLapsed`, or `JetStreamError` for what may be temporary.
  func raise(
    _ streams: [PreparedStream], _ tenure: Tenure,
    mayHaveStragglers: (String) -> Bool
  ) async throws -> (streams: [PreparedStream], hasMoved: Bool) {
    var streams = streams
    var hasMoved = false
    var unfenced: [String: String] = [:]
    for index in streams.indices where !streams[index].exclusive {
      let stream = streams[index]
      if DeliberateError.isOn(.noFence) { continue }
      if let why = obstacle(stream) {
        unfenced[stream.name] = why
        continue
      }
      switch try await raise(stream, tenure, mayHaveStragglers(stream.name)) {
      case .kept(let fence): streams[index].fence = fence
      case .moved(let fence):
        hasMoved = true
        streams[index].fence = fence
        if let now = try await jetStream.stream(stream.name) { streams[index].info = now }
      case .impossible(let why): unfenced[stream.name] = why
      }
    }
    book.note(unfenced: unfenced) { stream, why in
      logger.warning(
        "the stream has no fence: of several instances, one that was replaced may still store messages there",
        metadata: ["stream": "\(stream)", "reason": "\(why)"])
    }
    board.update { [unfenced] in $0.leadership.unfenced = unfenced }
    return (streams, hasMoved)
  }

  private enum Raised {
    case kept(LaneOptions.Fence)
    case moved(LaneOptions.Fence)
    case impossible(String)
  }

  /// Why the stream can't have one.
  private func obstacle(_ stream: PreparedStream) -> String? {
    if let why = Self.obstacle(stream.info.config, jetStream.connection.info.version) { return why }
    return book.isGivenUp(stream.name) ? "its limits remove the fence again and again" : nil
  }

  private static func obstacle(_ config: JSONValue, _ version: NATSVersion) -> String? {
    if version < firstServer {
      return "nats-server \(version) can't check it; 2.11.0 can"
    }
    if let retention = config["retention"]?.stringValue, retention != "limits" {
      return "its retention is \(retention): consumers remove messages, the fence among them"
    }
    if config["discard_new_per_subject"]?.boolValue ?? false {
      return "discard_new_per_subject: the fence's subject would be full after the first one"
    }
    return nil
  }

  /// The present fence of a stream, for who publishes there beside the pipeline; nil where the stream can't have one.
  ///
  /// The lease has to be looked at *after* this was read: who holds it then asserts no successor's fence.
  static func present(
    in stream: String, _ info: StreamInfo, bridge: String, _ jetStream: JetStreamClient
  ) async throws(JetStreamError) -> LaneOptions.Fence? {
    guard obstacle(info.config, jetStream.connection.info.version) == nil else { return nil }
    let subject = FenceSubject.own(bridge: bridge, stream: stream)
    let last = try await jetStream.lastMessage(in: stream, subject: subject)
    return LaneOptions.Fence(subject: subject, sequence: last?.sequence ?? 0)
  }

  private func raise(
    _ stream: PreparedStream, _ tenure: Tenure, _ mayHaveStragglers: Bool
  ) async throws -> Raised {
    let subject = FenceSubject.own(bridge: bridge, stream: stream.name)
    var mark = 0
    while true {
      let last = try await jetStream.lastMessage(in: stream.name, subject: subject)
      let fence = LaneOptions.Fence(subject: subject, sequence: last?.sequence ?? 0)
      if mark > 0, let last, last.payload == body(mark, tenure) { return .moved(fence) }
      if mark == 0, !mustMove(stream, fence, mayHaveStragglers) { return .kept(fence) }
      // Before each attempt: a predecessor that wakes up must not move it again.
      guard tenure.mayPublish else { throw LeaseLapsed() }
      mark += 1
      do {
        return .moved(try await move(stream, fence, body(mark, tenure)))
      } catch let error as JetStreamError {
        if let why = Self.lasting(error) { return .impossible(why) }
        guard mark < Self.attempts else { throw error }
        // The answer may have been lost, or another attempt of ours is under way.
        try await jetStream.connection.eventLoop.sleep(for: .milliseconds(50 * mark))
      }
    }
  }

  private static let attempts = 5

  private func mustMove(
    _ stream: PreparedStream, _ fence: LaneOptions.Fence, _ mayHaveStragglers: Bool
  ) -> Bool {
    // Where limits can remove it, that there is none says nothing.
    if fence.sequence == 0, stream.info.hasLimits { return true }
    return mayHaveStragglers && stream.info.lastSequence >= stream.info.beginning
  }

  private func body(_ mark: Int, _ tenure: Tenure) -> [UInt8] {
    let body: JSONValue = [
      "bridge": .string(bridge), "instance": .string(instance), "epoch": .int(tenure.epoch),
      "connection_epoch": .int(number), "attempt": .int(mark),
    ]
    return body.utf8
  }

  private func move(
    _ stream: PreparedStream, _ fence: LaneOptions.Fence, _ body: [UInt8]
  ) async throws -> LaneOptions.Fence {
    if !stream.info.subjects.contains(where: { NATSSubject.matches(fence.subject, filter: $0) }) {
      try await addSubject(to: stream.name)
    }
    let ack = try await jetStream.publish(
      fence.subject,
      headers: NATSHeaders([
        "Nats-Expected-Stream": stream.name,
        "Nats-Expected-Last-Subject-Sequence": String(fence.sequence),
      ]), payload: body)
    return LaneOptions.Fence(subject: fence.subject, sequence: ack.sequence)
  }

  private func addSubject(to stream: String) async throws(JetStreamError) {
    guard let present = try await jetStream.stream(stream) else { return }
    let subject = FenceSubject.all(in: stream)
    guard !present.subjects.contains(where: { $0 == subject }) else { return }
    var config = present.config
    config["subjects"] = .array((present.subjects + [subject]).map { .string($0) })
    var once = jetStream
    once.attempts = 2
    _ = try await once.request("STREAM.UPDATE.\(stream)", config)
    logger.info(
      "stream updated", metadata: ["stream": "\(stream)", "fields": "subjects: \(subject)"])
  }

  /// Why another attempt would fail in the same way; nil: it may succeed.
  private static func lasting(_ error: JetStreamError) -> String? {
    let isRefused =
      error.remedy == .operatorMustAct || error.remedy == .rejectMessage
      || error.message.lowercased().contains("permissions violation")
    return isRefused ? "\(error)" : nil
  }
}

extension StreamInfo {
  /// Its messages are removed by age, number or size.
  fileprivate var hasLimits: Bool {
    ["max_age", "max_msgs", "max_bytes", "max_msgs_per_subject"].contains {
      config.streamLimit($0) != nil
    }
  }
}

/// What a process remembers of its streams' fences. Thread-safe.
final class FenceBook: Sendable {
  private struct State {
    /// When fences were found removed.
    var removed: [String: [ContinuousClock.Instant]] = [:]
    var givenUp: Set<String> = []
    /// By stream: why it has none, as last reported.
    var unfenced: [String: String] = [:]
  }

  private let state = Mutex(State())

  /// So many removals within this time, and a stream does without.
  private static let mostRemovals = 3
  private static let span = Duration.seconds(300)

  func isGivenUp(_ stream: String) -> Bool { state.withLock { $0.givenUp.contains(stream) } }

  /// The stream refused messages because its fence isn't the last one any more.
  func noteRemoval(from stream: String) {
    state.withLock { state in
      let now = ContinuousClock.now
      var times = (state.removed[stream] ?? []).filter { now - $0 < Self.span }
      times.append(now)
      state.removed[stream] = times
      if times.count >= Self.mostRemovals { state.givenUp.insert(stream) }
    }
  }

  /// - Parameter report: called for each stream and reason that is new.
  func note(unfenced: [String: String], report: (String, String) -> Void) {
    let before = state.withLock { state in
      defer { state.unfenced = unfenced }
      return state.unfenced
    }
    for (stream, why) in unfenced.sorted(by: { $0.key < $1.key }) where before[stream] != why {
      report(stream, why)
    }
  }
}
