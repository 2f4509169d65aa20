package import MongoSource
package import Oplog

/// What decisions ask of MongoDB. Each question is asked once: retrying is up to the caller.
package protocol MongoAnswering: Sendable {
  /// The replica set's name.
  func setName() async throws(MongoError) -> String
  /// The newest entry that a majority has.
  func majorityPosition() async throws(MongoError) -> ResumePoint
  /// The newest entry, whether a majority has it or not.
  func newestPosition() async throws(MongoError) -> ResumePoint
  func oldestPosition() async throws(MongoError) -> ResumePoint
  /// The first entry at or after `position`; nil if there is none yet.
  func entry(atOrAfter position: OplogPosition) async throws(MongoError) -> ResumePoint?
  /// Where reading from a mark starts.
  func place(of mark: OplogPosition) async throws(MongoError) -> MongoAdmin.MarkPlace
  /// Why no member's oplog reaches back to `mark`; nil if one does.
  func loss(of mark: OplogPosition) async throws(MongoError) -> String?
  /// Why the oplog can't be read from `point` on; nil if it can.
  func loss(resumingAt point: ResumePoint) async throws(MongoError) -> String?
  /// The same of a change stream.
  func changeStreamLoss(at position: OplogPosition) async throws(MongoError) -> String?
  /// The first entry of the transaction that the entry at `position` belongs to.
  func transactionStart(from position: OplogPosition) async throws(MongoError) -> OplogPosition?
  /// Has the primary write a note into the oplog, where that is permitted, and a majority take it.
  func appendNote(_ text: String) async
}

extension MongoAnswering {
  package func appendNote(_ text: String) async {}
  package func newestPosition() async throws(MongoError) -> ResumePoint {
    try await majorityPosition()
  }
}

/// A replica set's own answers.
package struct MongoServerAnswers: MongoAnswering {
  private let options: MongoSourceOptions

  package init(_ options: MongoSourceOptions) { self.options = options }

  package func setName() async throws(MongoError) -> String {
    try await MongoAdmin.identify(options).setName
  }
  package func majorityPosition() async throws(MongoError) -> ResumePoint {
    try await MongoAdmin.majorityPosition(options)
  }
  package func newestPosition() async throws(MongoError) -> ResumePoint {
    try await MongoAdmin.newestPosition(options)
  }
  package func oldestPosition() async throws(MongoError) -> ResumePoint {
    try await MongoAdmin.oldestPosition(options)
  }
  package func entry(atOrAfter position: OplogPosition) async throws(MongoError) -> ResumePoint? {
    try await MongoAdmin.entry(options, atOrAfter: position)
  }
  package func place(of mark: OplogPosition) async throws(MongoError) -> MongoAdmin.MarkPlace {
    try await MongoAdmin.place(options, of: mark)
  }
  package func loss(of mark: OplogPosition) async throws(MongoError) -> String? {
    try await MongoAdmin.loss(options, of: mark)
  }
  package func loss(resumingAt point: ResumePoint) async throws(MongoError) -> String? {
    try await MongoAdmin.loss(options, resumingAt: point)
  }
  package func changeStreamLoss(at position: OplogPosition) async throws(MongoError) -> String? {
    try await MongoAdmin.changeStreamLoss(options, at: position)
  }
  package func transactionStart(
    from position: OplogPosition
  ) async throws(MongoError) -> OplogPosition? {
    try await MongoAdmin.transactionStart(options, from: position)
  }
  package func appendNote(_ text: String) async {
    // Without the right to it, or a primary, the newest entry has to do.
    try? await MongoAdmin.appendNote(options, text)
  }
}

/// Answers occasional questions about MongoDB, one at a time.
package protocol MongoAsking: Sendable {
  func askMongo<T: Sendable>(
    _ question: @escaping @Sendable (any MongoAnswering) async throws -> T
  ) async throws -> T
}

extension MongoAsking {
  /// Answers what a decision asks of MongoDB.
  package func answer(_ question: EpochQuestion) async throws -> EpochAnswer {
    switch question {
    case .newestEntry: .entry(try await askMongo { try await $0.majorityPosition() })
    case .oldestEntry: .entry(try await askMongo { try await $0.oldestPosition() })
    case .markedEntry(let mark): .mark(try await askMongo { try await $0.place(of: mark) })
    case .loss(let mark): .reason(try await askMongo { try await $0.loss(of: mark) })
    case .firstEntry(let position):
      .entry(try await askMongo { try await $0.entry(atOrAfter: position) })
    case .transactionStart(let previous):
      .entry(
        try await askMongo { try await $0.transactionStart(from: previous) }
          .map { ResumePoint(position: $0) })
    case .checkpointTime, .unnamedTrace, .messages, .snapshotIDs:
      throw BridgeError.halted("internal error: MongoDB can't answer \(question)")
    }
  }
}

extension BridgeService: MongoAsking {
  /// Asks MongoDB something; keeps asking until it answers, unless it must not wait. Throws
  /// `CancellationError` on a stop.
  package func askMongo<T: Sendable>(
    _ question: @escaping @Sendable (any MongoAnswering) async throws -> T
  ) async throws -> T {
    var backoff = Backoff(longest: .seconds(2))
    while true {
      do {
        let answer = try await stopRequest.unlessStopped { [mongo] in try await question(mongo) }
        guard let answer else { throw CancellationError() }
        return answer
      } catch let error as MongoError {
        if !error.isTransient { throw BridgeError.configuration("\(error)") }
        if !options.waitForServers { throw BridgeError.unavailable("\(error)") }
        report(.warning("MongoDB does not answer yet", reason: "\(error)"))
      }
      guard await stopRequest.sleep(backoff.next()) else { throw CancellationError() }
    }
  }
}
