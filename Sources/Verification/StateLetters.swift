import Bridge
import BridgeConfiguration
import DeadLetters
import JSON
import JetStream
import Mapping
import NATS
import Oplog
import Parity
import Synchronization

/// Documents of which a change is a dead letter: what messages tell of them is not all.
///
/// Thread-safe.
final class StateLetters: Sendable {
  private struct State {
    var documents: [DocumentKey: EventPosition] = [:]
    var isFull = false
  }

  private let configuration: BridgeConfiguration
  private let key: @Sendable (ChangeEvent, Int, inout Mapper) -> DocumentKey?
  private let state = Mutex(State())

  private static let mostDocuments = 500_000

  /// - Parameter key: of the document of an event, as `DocumentNaming.key`.
  init(
    _ configuration: BridgeConfiguration,
    _ key: @escaping @Sendable (ChangeEvent, Int, inout Mapper) -> DocumentKey?
  ) {
    self.configuration = configuration
    self.key = key
  }

  /// By document, where the last change that is a dead letter is.
  var documents: [DocumentKey: EventPosition] { state.withLock { $0.documents } }
  /// There are more than are kept.
  var isFull: Bool { state.withLock { $0.isFull } }

  func read(_ jetStream: JetStreamClient) async throws {
    try await readDropped(jetStream)
    let name = configuration.deadLetter.stream
    guard let info = try await jetStream.stream(name), info.messages > 0 else { return }
    let ownership = MessageOwnership(configuration).of(name)
    try await StreamScan(
      jetStream, stream: name, from: info.firstSequence, through: info.lastSequence,
      take: { view, _ in self.take(view, ownership) }
    ).run()
  }

  /// Those that an operator has dropped: their changes are in no message either.
  private func readDropped(_ jetStream: JetStreamClient) async throws {
    var mapper = configuration.mapper(sourceName: "")
    for letter in try await DroppedLetters(jetStream, configuration).load() {
      guard
        let index = configuration.rules.firstIndex(where: {
          $0.name.isSame(as: letter.event.rule)
        }),
        let key = try? letter.withEvent({ self.key($0, index, &mapper) }) ?? nil
      else { continue }
      note(key, letter.event.position)
    }
  }

  private func take(_ view: borrowing NATSMessageView, _ ownership: MessageOwnership.InStream) {
    let marks = MessageMarks(view.headers)
    guard marks.error != nil, ownership.owner(of: marks) == .thisBridge,
      let name = marks.rule.map({ String(decoding: $0, as: UTF8.self) }),
      let index = configuration.rules.firstIndex(where: { $0.name.isSame(as: name) }),
      let position = marks.position,
      let recorded = try? RecordedEvent(
        String(decoding: view.payload, as: UTF8.self), index: position.index),
      let key = try? recorded.withEvent({ event in
        var mapper = configuration.mapper(sourceName: "")
        return self.key(event, index, &mapper)
      })
    else { return }
    note(key, position)
  }

  private func note(_ key: DocumentKey, _ position: EventPosition) {
    state.withLock { state in
      if state.documents[key] == nil, state.documents.count >= Self.mostDocuments {
        state.isFull = true
        return
      }
      state.documents[key] = max(state.documents[key] ?? position, position)
    }
  }
}
