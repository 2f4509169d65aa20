import JetStream
package import Oplog

/// Finds the event whose message a server refuses for that message's own sake, by a limit that the bridge
/// doesn't know: without this, the same event would end epoch after epoch.
///
/// A refusal of a batch, or a connection that ended, says nothing of which message was meant. So the
/// events in question are then sent one by one, each awaited, and what is refused alone, three times in a
/// row and for the same reason, is invalid. Reasons that don't concern the message (a full stream,
/// permissions, no quorum, the network) never count.
///
/// A pure value: told how each epoch ended, it says how the next is to send.
package struct RefusalBook: Sendable {
  /// One message of one event.
  package struct Key: Hashable, Sendable {
    package var position: EventPosition
    package var rule: RuleID

    package init(position: EventPosition, rule: RuleID) {
      self.position = position
      self.rule = rule
    }
  }

  /// What had no ack when an epoch ended.
  package struct Flight: Sendable {
    /// The first, and how many there are.
    package var oldest: Key
    package var count: Int
    package var newest: EventPosition
    /// The first is a dead letter.
    package var isDeadLetter: Bool

    package init(oldest: Key, count: Int, newest: EventPosition, isDeadLetter: Bool = false) {
      self.oldest = oldest
      self.count = count
      self.newest = newest
      self.isDeadLetter = isDeadLetter
    }
  }

  package static let limit = 3

  /// What was found, with the server's words.
  package private(set) var refused: [Key: String] = [:]
  /// Events up to here are sent one by one.
  package private(set) var alone: EventPosition?
  private var suspect: Key?
  private var reason = ""
  private var count = 0
  /// The first unacknowledged when the epoch before ended.
  private var stuck: Key?

  package init() {}

  /// - Parameters:
  ///   - refusal: the server's words, where they concern a message itself.
  ///   - flight: nil: everything was acknowledged.
  /// - Returns: what has just been found.
  package mutating func noteEnd(refusal: String?, _ flight: Flight?) -> Key? {
    guard let flight else {
      forget()
      return nil
    }
    if flight.oldest != suspect {
      suspect = flight.oldest
      count = 0
    }
    defer { stuck = flight.oldest }
    guard let refusal else {
      // Nothing is proven by this; but whose turn it is will be known.
      if stuck == flight.oldest { alone = max(alone ?? flight.newest, flight.newest) }
      return nil
    }
    alone = max(alone ?? flight.newest, flight.newest)
    guard flight.count == 1, !flight.isDeadLetter else { return nil }
    count = refusal == reason ? count + 1 : 1
    reason = refusal
    guard count >= Self.limit else { return nil }
    refused[flight.oldest] = refusal
    forget()
    return flight.oldest
  }

  private mutating func forget() {
    alone = nil
    suspect = nil
    count = 0
  }
}

extension EpochEnd {
  /// The server's words, where it refused a message for the message's own sake: not because of its state,
  /// ours, or anything else that may pass.
  var refusal: String? {
    switch self {
    case .publishFailed(_, let error): error.remedy == .rejectMessage ? "\(error)" : nil
    case .connectionLost(let why):
      // The server tells of these in no other way (errors.go: ErrMaxControlLine, ErrMaxPayload).
      why.lowercased().contains("maximum control line")
        || why.lowercased().contains("maximum payload")
        ? why : nil
    default: nil
    }
  }
}
