import JetStream
package import Oplog

/// Finds the event whose message a server refuses because of its content, by a limit that the bridge doesn't
/// know: without this, the same event would end epoch after epoch.
///
/// The refusal of a batch, or a lost connection, doesn't show which message caused it. So the entries in question are
/// sent one by one, each awaited (a transaction is one, and stays in one batch), and where that is refused for a message's
/// content, the events. An event that is refused alone, three times in a row and for the same reason, is invalid. Reasons that don't concern the message (a full stream,
/// permissions, no quorum, the network) never count.
///
/// A pure value: from how each epoch ended, it decides how the next one sends.
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

  /// The messages without an ack when an epoch ended.
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

  /// The refused messages that were found, with the server's reasons.
  package private(set) var refused: [Key: String] = [:]
  /// Entries up to here are sent one by one, …
  package private(set) var alone: EventPosition?
  /// … and so are their events.
  package private(set) var separatesEvents = false
  private var suspect: Key?
  private var reason = ""
  private var count = 0
  /// The first unacknowledged when the epoch before ended.
  private var stuck: Key?

  package init() {}

  /// - Parameters:
  ///   - refusal: the server's reason, if it concerns a message's content.
  ///   - flight: nil: everything was acknowledged.
  /// - Returns: the refused message, if this end identifies it.
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
      // This proves nothing yet, but identifies the next candidate.
      if stuck == flight.oldest { alone = max(alone ?? flight.newest, flight.newest) }
      return nil
    }
    alone = max(alone ?? flight.newest, flight.newest)
    separatesEvents = true
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
    separatesEvents = false
    suspect = nil
    count = 0
  }
}

extension EpochEnd {
  /// The server's reason, if it refused a message because of its content: not because of the state of server
  /// or bridge, which may change.
  var refusal: String? {
    switch self {
    case .publishFailed(_, let error): error.remedy == .rejectMessage ? "\(error)" : nil
    case .connectionLost(let why):
      // The server reports these in no other way (errors.go: ErrMaxControlLine, ErrMaxPayload).
      why.lowercased().contains("maximum control line")
        || why.lowercased().contains("maximum payload")
        ? why : nil
    default: nil
    }
  }
}
