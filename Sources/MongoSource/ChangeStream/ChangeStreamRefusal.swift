internal import Oplog

/// A change stream error that a retry doesn't fix.
enum ChangeStreamRefusal: Equatable {
  case lost(PositionLost.Reason)
  /// An event exceeds the maximum size of a reply.
  case tooLarge(OplogPosition?)
  /// The server fails on an event with an assertion, for every client.
  case unreadable
  /// A retry gets the same answer.
  case final

  /// - Parameters:
  ///   - opening: the command that opens the stream failed.
  ///   - isFirst: nothing has been read from the cursor yet, so it was opened at the position where the
  ///     server failed.
  ///   - afterToken: the cursor was opened after a token, and nothing has been read from it yet.
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

  /// Whether the server rejects the command itself: parse errors, with their own codes or as numbered
  /// assertions, are permanent.
  static func isRefusal(_ error: MongoError) -> Bool {
    guard error.domain == .server else { return false }
    switch error.code {
    case Code.failedToParse, Code.invalidResumeToken: return true
    default: return error.code >= Code.firstAssertion
    }
  }

  /// Whether the server failed while building an event. It fails again on a retry.
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
    /// An exception without a code, such as a failed assertion in the server.
    static let unknown: UInt32 = 8
    static let failedToParse: UInt32 = 9
    static let invalidResumeToken: UInt32 = 260
    static let fatal: UInt32 = 280
    static let historyLost: UInt32 = 286
    static let objectTooLarge: UInt32 = 10334
    /// "Tried to make oversized document": an event over 64 MB, which the server can't build.
    static let documentTooLarge: UInt32 = 16490
    static let firstAssertion: UInt32 = 40_000
  }

  /// The event's cluster time, from the start of the token that the error quotes.
  static func position(in message: String) -> OplogPosition? {
    guard let start = message.firstRange(of: "_data: \"")?.upperBound else { return nil }
    var digits = String(message[start...].prefix { $0 != "\"" })
    return digits.withUTF8 { ChangeStreamToken(UnsafeRawBufferPointer($0)) }?.position
  }

  static func unreadable(after reached: OplogPosition, _ error: MongoError) -> String {
    "an event after \(reached) can't be read through a change stream: the server fails on it, as 6.0 does "
      + "on a replacement with a field $v. Nothing was skipped. Set source.reader: oplog, which can read "
      + "it, or deliberately move the checkpoint past it. \(error)"
  }

  static func tooLarge(
    at position: OplogPosition?, after reached: OplogPosition, _ error: MongoError
  ) -> String {
    let place = position.map { "the event at \($0)" } ?? "an event at or after \(reached)"
    return
      "\(place) is too large for a change stream (16 MB, in which the document key counts four "
      + "times). Nothing was skipped. Set source.reader: oplog, which has no such limit, or "
      + "deliberately move the checkpoint past it. \(error)"
  }
}

/// Searches the other members of a replica set for a position that one member no longer holds:
/// members keep oplogs of different lengths.
struct MemberSearch {
  private var lost: PositionLost?
  private var candidates: [String] = []
  /// The member to read from, overriding the read preference.
  private(set) var host: String?

  var isOn: Bool { lost != nil }

  /// Keeps the first loss; later ones come from other members.
  mutating func begin(_ loss: PositionLost, _ others: [String]) {
    guard lost == nil else { return }
    lost = loss
    candidates = others.reversed()
  }

  /// The member being tried is unreachable.
  mutating func noteUnreachable() {
    if let host { lost?.unasked.append(host) }
  }

  /// Advances to the next member. Returns the loss if there is none left.
  mutating func next() -> PositionLost? {
    host = candidates.popLast()
    guard host == nil else { return nil }
    defer { lost = nil }
    return lost
  }

  /// A member holds the position. Reading stays with it as long as it answers.
  mutating func end() {
    guard lost != nil else { return }
    lost = nil
    candidates = []
  }

  /// Returns to the read preference.
  mutating func forget() { host = nil }
}
