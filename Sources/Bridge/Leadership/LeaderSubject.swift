import JSON
import Logging
import NATS
import NIOCore
import Synchronization

/// The subject on which a leader answers and standbys ask: nobody there means that the leader's connection is gone.
/// Thread-safe.
final class LeaderSubject: Sendable {
  let name: String
  private let instance: String
  private let eventLoop: any EventLoop
  private let board: StatusBoard
  private let logger: Logger
  /// It has been said that standbys can't ask.
  private let hasWarned = Atomic(false)

  /// How long an answer is waited for.
  static let patience = Duration.milliseconds(300)

  init(
    bridge: String, instance: String, on eventLoop: any EventLoop, board: StatusBoard,
    logger: Logger
  ) {
    name = "tailrace.\(bridge).leader"
    self.instance = instance
    self.eventLoop = eventLoop
    self.board = board
    self.logger = logger
  }

  /// How a question ends.
  func ask(_ connection: NATSConnection) async -> StandbyMachine.Answer {
    do {
      _ = try await connection.request(name, timeout: Self.patience)
      return .answered
    } catch {
      return error.code == .noResponders ? .nobody : .silence
    }
  }

  /// One of the leader's connections gets each question.
  private static let queue = "leader"

  /// Answers while the connection lasts. False: the user may not subscribe to the subject, so that standbys can't know
  /// whether anybody is there.
  func listen(on connection: NATSConnection) async -> Bool {
    let isRefused = Flag()
    do {
      let questions = try await connection.subscribe(
        name, queue: Self.queue, maximumCount: 1000)
      let answer = JSONValue.object([.init("instance", .string(instance))]).utf8
      Task { [board] in
        do {
          for try await question in questions {
            guard let reply = question.reply else { continue }
            board.update { $0.leadership.askedAt = .now }
            try connection.enqueue(reply, payload: answer)
          }
        } catch {
          // The connection has ended, or this user may not subscribe.
          isRefused.value.store(
            (error as? NATSError)?.code == .permissionsViolation, ordering: .relaxed)
        }
      }
      // A refusal arrives before the answer to this, and is handled a moment later.
      try await connection.flush(timeout: .seconds(2))
      try await eventLoop.sleep(for: .milliseconds(5))
      guard !isRefused.value.load(ordering: .relaxed) else {
        warn("the user may not subscribe to it")
        return false
      }
      return !connection.hasEnded
    } catch {
      warn("\(error)")
      return false
    }
  }

  private func warn(_ why: String) {
    guard !hasWarned.exchange(true, ordering: .relaxed) else { return }
    logger.warning(
      "standbys can't ask this leader; they take over only when its lease expires",
      metadata: ["subject": "\(name)", "reason": "\(why)"])
  }

  private final class Flag: Sendable {
    let value = Atomic(false)
  }
}
