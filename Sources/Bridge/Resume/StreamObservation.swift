package import BridgeConfiguration
package import Oplog

/// The end of one stream, read from its leader before anything is published.
package struct StreamObservation: Sendable, Equatable {
  /// One of our messages, as stored.
  package struct Own: Sendable, Equatable {
    package var sequence: UInt64
    package var position: EventPosition
    package var rule: RuleID
    package var id: String
    /// Of an entry in a bucket.
    package var subject: String?

    package init(sequence: UInt64, position: EventPosition, rule: RuleID, id: String) {
      self.sequence = sequence
      self.position = position
      self.rule = rule
      self.id = id
    }
  }

  /// Our messages in a stream whose later ones don't prove the earlier ones: it was created again, or restored
  /// from an older copy, while a bridge kept publishing until it noticed; or it is being refilled after that.
  package struct Patchwork: Sendable, Equatable {
    /// The last message before the gap: everything up to it is stored.
    package var before: Own?
    /// The messages behind the gap.
    package var behind: [Own]

    package init(before: Own?, behind: [Own]) {
      self.before = before
      self.behind = behind
    }
  }

  package var name: String
  package var created: String
  package var firstSequence: UInt64
  package var lastSequence: UInt64
  /// Messages in the stream, of any publisher.
  package var messages: UInt64
  /// Only the bridge publishes here.
  package var exclusive: Bool
  /// Only dead letters are published here.
  package var isDeadLetter: Bool
  /// Our last message in the stream, if there is one. Searched from the stream's end down to the
  /// checkpoint's sequence; through the whole stream where that sequence is beyond the end or holds
  /// something else.
  package var tail: Own?
  /// The checkpoint's sequence holds a message that isn't the one that was acknowledged.
  package var checkpointOverwritten = false
  /// It isn't the stream that the checkpoint describes.
  package var wasMadeAgain = false
  /// It does not exist yet: a start judges how it would begin.
  package var isMissing = false
  /// Which of our messages are there, where positions don't tell.
  package var patchwork: Patchwork?
  /// The messages behind the last acknowledged one, if the protocol can leave gaps there.
  package var unproven: UnprovenTail?
  /// How many messages are in the stream behind the last of ours that is known: `tail`, else the
  /// checkpoint's, else what the stream held when the bridge first saw it. Counted on exclusive
  /// streams only.
  package var survivors: UInt64 = 0

  /// The sequence of the very first message that the stream stored, or will store.
  package var beginning: UInt64 = 1
  /// For how long the server knows ids.
  package var duplicateWindow: Duration?
  /// For how long ids prove that an event was stored, even if its message was removed; nil if they don't.
  package var idsProveFor: Duration?
  /// When the stream stored its last message, even if that is gone.
  package var lastAt: ServerTime?
  /// The server adds messages of its own.
  package var hasDeleteMarkers = false

  // What the stream keeps.
  package var isMemory = false
  package var maxAgeSeconds: UInt32?
  package var onLoss = StreamSpec.OnLoss.refill

  /// This bridge's mark in the stream's metadata.
  package var mark: StreamMark?
  /// The stream's very first message is still there, and ours.
  package var firstIsOurs = false
  /// Our first message that is still there, if it is at or near the stream's beginning; searched only without
  /// a checkpoint.
  package var firstOwn: EventPosition?

  package init(
    name: String, created: String, firstSequence: UInt64, lastSequence: UInt64, exclusive: Bool,
    isDeadLetter: Bool, tail: Own?
  ) {
    self.name = name
    self.created = created
    self.firstSequence = firstSequence
    self.lastSequence = lastSequence
    self.messages =
      lastSequence > 0 && firstSequence <= lastSequence
      ? lastSequence - max(firstSequence, 1) + 1 : 0
    self.exclusive = exclusive
    self.isDeadLetter = isDeadLetter
    self.tail = tail
  }

  /// The stream never stored a message.
  var hasNothingYet: Bool { lastSequence < beginning }

  /// Nothing was ever removed from the stream, and nothing in it is ours.
  var neverHeldOurs: Bool {
    guard tail == nil else { return false }
    return hasNothingYet
      || (firstSequence <= beginning && messages == lastSequence - beginning + 1)
  }

  /// Our last message up to which nothing is missing.
  var firm: Own? { patchwork.map(\.before) ?? tail }

  /// The same, as checkpoints have it.
  package var found: Checkpoint.Stream? {
    firm.map { tail in
      Checkpoint.Stream(
        sequence: tail.sequence, id: tail.id, position: tail.position, rule: tail.rule,
        created: created)
    }
  }

  /// How many messages of ours were stored behind the one at `sequence` and removed since. Only an
  /// exclusive stream's sequence shows it: each number is one message of ours, or one that is still there.
  package func removed(after sequence: UInt64) -> UInt64 {
    guard exclusive, lastSequence > sequence else { return 0 }
    let behind = lastSequence - sequence
    // Next to a foreign message, the removed ones may have been foreign as well.
    return survivors == 0 ? behind : 0
  }
}

/// A time as nats-server writes it (RFC 3339, UTC), to the second.
package struct ServerTime: Sendable, Equatable {
  /// Since 1970.
  package var seconds: Int

  package init(seconds: Int) { self.seconds = seconds }

  /// Nil if it isn't written that way.
  package init?(_ text: String) {
    let bytes = Array(text.utf8)
    guard bytes.count >= 20, bytes.count <= 30, bytes.last == UInt8(ascii: "Z") else { return nil }
    func number(_ range: Range<Int>) -> Int? {
      var value = 0
      for byte in bytes[range] {
        guard byte >= 48, byte <= 57 else { return nil }
        value = value * 10 + Int(byte - 48)
      }
      return value
    }
    guard bytes[4] == 45, bytes[7] == 45, bytes[10] == 84, bytes[13] == 58, bytes[16] == 58,
      bytes[19] == 46 || bytes.count == 20,
      let year = number(0..<4), let month = number(5..<7), (1...12).contains(month),
      let day = number(8..<10), let hour = number(11..<13), let minute = number(14..<16),
      let second = number(17..<19)
    else { return nil }
    // Days of the civil calendar, years beginning in March.
    let y = month > 2 ? year : year - 1
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * ((month + 9) % 12) + 2) / 5 + day
    seconds = ((days - 719_469) * 24 + hour) * 3600 + minute * 60 + second
  }
}
