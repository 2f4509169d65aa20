package import Bridge
import Mapping

/// Whether what a stream holds where it says to have a replayed message is that message: only then may
/// its dead letter go.
package enum ReplayProof: Equatable, Sendable {
  case isTheMessage
  /// A producer published it, under the id that both share.
  case isProducers
  /// It was stored, and limits or consumers have removed it since.
  case wasStored
  /// Something else has the id, or nothing has it.
  case isNot(String)

  /// The stream's answer to the publish.
  package struct Ack: Sendable {
    package var stream: String
    package var sequence: UInt64
    package var isDuplicate: Bool

    package init(stream: String, sequence: UInt64, isDuplicate: Bool) {
      self.stream = stream
      self.sequence = sequence
      self.isDuplicate = isDuplicate
    }
  }

  /// - Parameters:
  ///   - letter: the code and body that tell a producer's message from another event's: its error, and the
  ///     body that it is replayed with.
  ///   - stored: read from the stream's leader at the sequence of the ack; nil where that holds nothing.
  ///   - lastSequence: of the stream, where `stored` is nil.
  package static func judge(
    _ stored: EventIdentity.Message?, lastSequence: UInt64 = 0, ack: Ack, id: String,
    position: String, rule: String, letter: (error: String, body: [UInt8])
  ) -> ReplayProof {
    let place = "sequence \(ack.sequence) of \(ack.stream)"
    guard let stored else {
      return ack.isDuplicate || lastSequence < ack.sequence
        ? .isNot("\(place), where the stream has id \(id), holds nothing") : .wasStored
    }
    let own = stored.own
    guard own.storedID == id else {
      return .isNot("\(place) holds another message than \(id)")
    }
    if own.error != nil {
      return .isNot("id \(id) belongs to a dead letter, at \(place)")
    }
    guard let found = own.positionText else {
      let another = "\(place) holds a message of another producer under id \(id)"
      guard ack.isDuplicate else { return .isNot(another) }
      // The bridge has seen that message taken for another event.
      if letter.error == MappingErrorCode.idConflict.rawValue {
        return .isNot("\(another), which was taken for another event")
      }
      // One producer's message is one event, and which one only its content can say here.
      return EventIdentity.document(stored.payload) == EventIdentity.document(letter.body)
        ? .isProducers
        : .isNot("\(another), with another content. If it is the same event, drop the letter")
    }
    let foundRule = own.rule ?? ""
    return found == position && foundRule == rule
      ? .isTheMessage
      : .isNot("id \(id) belongs to event \(found) of rule \(foundRule), at \(place)")
  }
}
