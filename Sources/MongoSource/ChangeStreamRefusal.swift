internal import Oplog

/// What a server's error on a change stream means, where trying again doesn't cure it.
enum ChangeStreamRefusal: Equatable {
  case lost(PositionLost.Reason)
  /// An event is larger than a server's answer may be.
  case tooLarge(OplogPosition?)
  /// The server fails on an event: some assertion of its code, whoever asks.
  case unreadable
  /// The server will say the same again.
  case final

  /// - Parameters:
  ///   - opening: the answer is to the command that opens the stream.
  ///   - isFirst: nothing has been read from the stream yet: it was opened, perhaps again, at the very
  ///     place where the server failed.
  ///   - afterToken: the stream is opened after a token, and nothing has been read from it yet.
  init?(_ error: MongoError, opening: Bool, isFirst: Bool, afterToken: Bool) {
    guard error.domain == .server else { return nil }
    switch error.code {
    case Code.historyLost: self = .lost(.rolledOver)
    case Code.fatal: self = afterToken ? .lost(.rolledBack) : .final
    case Code.objectTooLarge, Code.documentTooLarge:
      self = .tooLarge(Self.position(in: error.message))
    case _ where isFirst && Self.isFailure(error): self = .unreadable
    case _ where opening && Self.isRefusal(error): self = .final
    default: return nil
    }
  }

  /// Whether the server doesn't understand what it is asked: what its parser reports, in codes of
  /// their own or as numbered assertions, does not pass by itself.
  static func isRefusal(_ error: MongoError) -> Bool {
    guard error.domain == .server else { return false }
    switch error.code {
    case Code.failedToParse, Code.invalidResumeToken: return true
    default: return error.code >= Code.firstAssertion
    }
  }

  /// Whether the server failed while it made an event. It does the same when it is asked again.
  static func isFailure(_ error: MongoError) -> Bool {
    // "PlanExecutor error during aggregation", "Executor error during getMore".
    guard error.domain == .server, error.message.contains("xecutor error during") else {
      return false
    }
    return error.code == Code.unknown && error.message.contains("assertion")
      || error.code >= Code.firstAssertion
  }

  /// Server error codes (src/mongo/base/error_codes.yml).
  private enum Code {
    /// An exception that has no code, such as a failed assertion in the server's code.
    static let unknown: UInt32 = 8
    static let failedToParse: UInt32 = 9
    static let invalidResumeToken: UInt32 = 260
    static let fatal: UInt32 = 280
    static let historyLost: UInt32 = 286
    static let objectTooLarge: UInt32 = 10334
    /// "Tried to make oversized document": an event beyond 64 MB, which the server can't even build.
    static let documentTooLarge: UInt32 = 16490
    static let firstAssertion: UInt32 = 40_000
  }

  /// The event's cluster time, from the beginning of its token, which the server quotes.
  static func position(in message: String) -> OplogPosition? {
    guard let start = message.firstRange(of: "_data: \"")?.upperBound else { return nil }
    var digits = String(message[start...].prefix { $0 != "\"" })
    return digits.withUTF8 { ChangeStreamToken(UnsafeRawBufferPointer($0)) }?.position
  }

  static func unreadable(after reached: OplogPosition, _ error: MongoError) -> String {
    "an event after \(reached) can't be read through a change stream: the server fails on it, as 6.0 does "
      + "on a replacement with a field $v. Nothing was skipped. Set source.reader: oplog, which reads "
      + "it, or move the checkpoint past it on purpose. \(error)"
  }

  static func tooLarge(
    at position: OplogPosition?, after reached: OplogPosition, _ error: MongoError
  ) -> String {
    let place = position.map { "the event at \($0)" } ?? "an event at or after \(reached)"
    return "\(place) is larger than a change stream can tell (16 MB, with the document's key four "
      + "times). Nothing was skipped. Set source.reader: oplog, which has no such limit, or move "
      + "the checkpoint past it on purpose. \(error)"
  }
}

/// Asks the members of a replica set one after the other whether they still have a place that one
/// of them lost: members keep oplogs of different lengths.
struct MemberSearch {
  private var lost: PositionLost?
  private var candidates: [String] = []
  /// The member to read from, instead of the one that the read preference gives.
  private(set) var host: String?

  var isOn: Bool { lost != nil }

  /// The first loss counts; a further one is another member's.
  mutating func begin(_ loss: PositionLost, _ others: [String]) {
    guard lost == nil else { return }
    lost = loss
    candidates = others.reversed()
  }

  /// The member being asked does not answer.
  mutating func noteUnreachable() {
    if let host { lost?.unasked.append(host) }
  }

  /// Goes on to the next member; the loss, if there is none.
  mutating func next() -> PositionLost? {
    host = candidates.popLast()
    guard host == nil else { return nil }
    defer { lost = nil }
    return lost
  }

  /// A member has the place. It stays the one to read from as long as it answers.
  mutating func end() {
    guard lost != nil else { return }
    lost = nil
    candidates = []
  }

  /// Back to the read preference.
  mutating func forget() { host = nil }
}
