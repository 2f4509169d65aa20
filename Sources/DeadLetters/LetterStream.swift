import Bridge
import BridgeConfiguration
import JetStream
import Mapping
import NATS

/// Which messages of the dead-letter stream are letters, and whose.
package struct LetterStream: Sendable {
  let bridge: String
  let ownership: MessageOwnership.InStream
  /// Where letters go.
  private let letters: String
  /// Where the rules' messages go, in a stream that holds both.
  private let messages: [String]

  init(_ configuration: BridgeConfiguration) {
    bridge = configuration.bridge.name
    ownership = MessageOwnership(configuration).of(configuration.deadLetter.stream)
    letters = configuration.deadLetter.subject.pattern
    messages =
      configuration.streams.firstIndex { $0.name == configuration.deadLetter.stream }
      .map { configuration.publishedSubjects(to: $0) } ?? []
  }

  /// Whether a message without `Tailrace-Error` is meant as a letter: it is stored where letters are, and has
  /// some header of a bridge. All else there is other producers'.
  func isForLetters(_ message: StoredMessage) -> Bool {
    NATSSubject.matches(message.subject, filter: letters)
      && !messages.contains { NATSSubject.matches(message.subject, filter: $0) }
      && message.headers.contains { $0.name.lowercased().hasPrefix("tailrace-") }
  }
}
