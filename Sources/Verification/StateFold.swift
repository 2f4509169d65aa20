import Bridge
import BridgeConfiguration
import NATS
package import Oplog
package import Parity
import Synchronization

/// What the messages of the streams make of the documents, as far as they are in one part of all keys.
///
/// Thread-safe: messages come on a connection's event loop, questions from elsewhere.
package final class StateFold: Sendable {
  private struct State: Sendable {
    var table: DocumentTable
    /// Of the stream that is read: changes of collections that no message tells of, in order.
    var untold: ArraySlice<CollectionFacts.Change> = []
    var unreadable: [Mismatch] = []
    var doubled: [Mismatch] = []
  }

  private let plan: FoldPlan
  private let range: ClosedRange<EventPosition>
  private let facts: CollectionFacts?
  private let state: Mutex<State>

  private static let mostUnreadable = 10_000

  /// - Parameter range: of positions; others' messages are passed over.
  package init(
    _ plan: FoldPlan, _ part: DocumentPart, range: ClosedRange<EventPosition>, mostBytes: Int,
    isThorough: Bool, facts: CollectionFacts?
  ) {
    self.plan = plan
    self.range = range
    self.facts = facts
    state = Mutex(
      State(
        table: DocumentTable(
          part, mostBytes: mostBytes, isThorough: isThorough, givenNames: plan.givenNames)))
  }

  var messages: UInt64 { state.withLock { $0.table.messages } }
  /// The first document's message.
  var first: EventPosition? { state.withLock { $0.table.first } }
  package var part: DocumentPart { state.withLock { $0.table.part } }
  var left: [DocumentPart] { state.withLock { $0.table.left } }
  /// Messages that should tell of a document, and can't be read.
  package var unreadable: [Mismatch] { state.withLock { $0.unreadable } }

  /// Messages of snapshots that are there under the same id before.
  package var doubled: [Mismatch] { state.withLock { $0.doubled } }

  package func claim(_ key: DocumentKey) -> DocumentTable.Claim {
    state.withLock { $0.table.claim(key) }
  }

  package func isComplete(_ namespace: String, snapshot: OplogPosition?) -> Bool {
    state.withLock { $0.table.isComplete(namespace, snapshot: snapshot) }
  }

  func demand(
    _ document: DocumentTable.Document, _ namespace: String, snapshot: OplogPosition
  ) -> DocumentTable.Demand {
    state.withLock { $0.table.demand(document, namespace, snapshot: snapshot) }
  }

  package var unclaimed: [(DocumentKey, DocumentTable.Document)] {
    state.withLock { $0.table.unclaimed }
  }

  /// Messages of that stream come next.
  package func begin(stream: Int) {
    let untold = facts?.untold(plan, in: stream, range) ?? []
    state.withLock { $0.untold = untold[...] }
  }

  /// None comes any more.
  package func end(stream: Int) {
    state.withLock { applyUntold(&$0, before: range.upperBound, stream, andAt: true) }
  }

  private func applyUntold(
    _ state: inout State, before position: EventPosition, _ stream: Int, andAt: Bool = false
  ) {
    while let next = state.untold.first,
      next.position < position || (andAt && next.position == position)
    {
      state.untold.removeFirst()
      for step in plan.steps(next.change, in: stream) {
        state.table.apply(step, rule: "", position: next.position, sequence: 0)
      }
    }
  }

  /// `ownership`: of the stream that the message is in.
  func take(
    _ view: borrowing NATSMessageView, _ sequence: UInt64, stream: Int, _ name: String,
    _ ownership: MessageOwnership.InStream
  ) {
    let marks = MessageMarks(view.headers)
    guard ownership.owner(of: marks) == .thisBridge, let rule = marks.rule,
      let position = marks.position
    else { return }
    func text(_ bytes: UnsafeRawBufferPointer?) -> String {
      bytes.map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
    take(
      FoldPlan.Headers(
        id: text(marks.storedID), rule: text(rule), position: position, type: text(marks.type),
        source: text(marks.source), isSnapshot: marks.isSnapshot),
      view.payload, sequence, stream: stream, name)
  }

  package func take(
    _ headers: FoldPlan.Headers, _ payload: some Sequence<UInt8>, _ sequence: UInt64, stream: Int,
    _ name: String
  ) {
    guard range.contains(headers.position) else { return }
    let reading = plan.read(headers, payload, stream: stream)
    switch reading {
    case .nothing: return
    case .steps(let steps):
      var text = headers.id
      let id =
        headers.isSnapshot ? text.withUTF8 { MessageDigest(UnsafeRawBufferPointer($0)) } : nil
      state.withLock { state in
        applyUntold(&state, before: headers.position, stream)
        for step in steps {
          guard
            let before = state.table.apply(
              step, rule: headers.rule, position: headers.position, sequence: sequence, id: id),
            state.doubled.count < Self.mostUnreadable
          else { continue }
          state.doubled.append(
            Mismatch(
              kind: .duplicate, id: headers.id, position: headers.position, rule: headers.rule,
              subject: "", stream: name, sequence: sequence,
              detail: "sequence \(before) has the same id already"))
        }
      }
    case .unreadable(let why):
      let mismatch = Mismatch(
        kind: .payloadMismatch, id: headers.id, position: headers.position, rule: headers.rule,
        subject: "", stream: name, sequence: sequence,
        detail: "what the message does to which document can't be read: \(why)", pointer: "")
      state.withLock { state in
        if state.unreadable.count < Self.mostUnreadable { state.unreadable.append(mismatch) }
      }
    }
  }
}
