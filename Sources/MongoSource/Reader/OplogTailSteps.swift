package import Logging
package import Oplog

// What an `OplogTailMachine` wants, and what it is answered.

extension OplogTailMachine {
  /// Something to do, after `notes` were applied in their order.
  package struct Step: Sendable {
    package var notes: [Note] = []
    package var request: Request
  }

  /// Each is carried out and answered by the next call of `next`, except for the last two.
  package enum Request: Sendable {
    /// Open a client unless there is one, and select a server: this member if it is known, else by the
    /// read preference. Answered by `connected`.
    case connect(preferred: String?)
    /// Answered by `done`.
    case startSession
    /// Open a tailable cursor at the first entry at or after a position. Answered by `reply`.
    case find(from: OplogPosition, majority: Bool, batchSize: Int)
    /// Answered by `reply`.
    case getMore(cursor: Int64, batchSize: Int)
    /// Look for this entry on the other members; the server has `found` there. Answered by `missing`.
    case search(for: ResumePoint, found: ResumePoint?, majority: Bool)
    /// Wait for room and queue the batch. Answered by `done`, or `refused`.
    case deliver(OplogBatch, moreWaits: Bool)
    /// Answered by `done`.
    case killCursor(Int64)
    /// Wait, at most until the machine is superseded. Answered by `done`.
    case pause(Duration)
    /// Report the failure. There is nothing else to do.
    case fail(SourceFailure)
    /// There is nothing else to do. A connection that is open may serve the next machine.
    case finish
  }

  package enum Answer: Sendable {
    /// The first one.
    case begin
    /// The server selected; `unsupported` says why it can't be tailed.
    case connected(host: String, isInitiated: Bool, unsupported: String?)
    case reply(MongoReply)
    case missing(MissingEntry)
    case done
    /// What was read isn't wanted any more: `restart` or `stop`.
    case refused
    case error(MongoError)
  }

  /// A change of what is shown or kept, without an answer.
  package enum Note: Sendable {
    /// The client is to be closed, with its session and cursors.
    case disconnect
    case host(String)
    /// The server answered, and nothing is to be queued.
    case replied(SourceStatus.Phase, at: ContinuousClock.Instant)
    case reopening(MongoError, attempt: Int)
    /// An interruption is over.
    case recovered
    case log(Line)
  }

  /// A line for the log.
  package enum Line: Sendable, CustomStringConvertible {
    case interrupted(MongoError, at: ResumePoint)
    case stillInterrupted(MongoError, attempt: Int)
    case lagging(host: String, at: ResumePoint)
    case elsewhere(host: String, at: ResumePoint)
    case recovered(host: String, after: ResumePoint)

    package var level: Logger.Level {
      switch self {
      case .interrupted, .lagging: .warning
      case .stillInterrupted: .debug
      case .elsewhere: .notice
      case .recovered: .info
      }
    }

    package var metadata: Logger.Metadata? {
      guard case .stillInterrupted(_, let attempt) = self else { return nil }
      return ["attempt": "\(attempt)"]
    }

    package var description: String {
      switch self {
      case .interrupted(let error, let point):
        "\(error); reopening the oplog at \(point), with retries"
      case .stillInterrupted(let error, _): "\(error)"
      case .lagging(let host, let point): "\(host) does not have \(point) yet; waiting for it"
      case .elsewhere(let host, let point): "continuing on \(host), which still has \(point)"
      case .recovered(let host, let point): "reading the oplog again at \(host), after \(point)"
      }
    }
  }

  package struct Settings: Sendable {
    package var majority: Bool
    package var batchSize: Int
    package var longestSilence: Duration
    package var longestLag: Duration

    package init(_ options: MongoSourceOptions) {
      majority = options.readConcernMajority
      batchSize = max(options.batchSize, 1)
      longestSilence = options.longestSilence
      longestLag = options.longestLag
    }
  }

  /// Errors made on purpose, which tests must find. Tests only.
  package struct DeliberateErrors: OptionSet, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// An entry of another term at the same position is taken for the expected one.
    package static let ignoresTerm = DeliberateErrors(rawValue: 1)
    /// Reads from behind the resume position (`$gt` for `$gte`), so that the first entry proves nothing.
    package static let startsBehind = DeliberateErrors(rawValue: 2)
  }
}
