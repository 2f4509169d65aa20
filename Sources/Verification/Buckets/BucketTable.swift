import Bridge
import BridgeConfiguration
import NATS
package import Oplog
package import Parity
import Synchronization

/// The last entry under each key of the buckets, as far as the keys are in one part of all.
///
/// Thread-safe: entries come on a connection's event loop, questions from elsewhere.
package final class BucketTable: Sendable {
  package struct Entry: Sendable {
    package var subject: String
    package var rule: String
    package var position: EventPosition
    package var sequence: UInt64
    /// Nil: the key was purged.
    package var body: [UInt8]?

    package init(
      subject: String, rule: String, position: EventPosition, sequence: UInt64, body: [UInt8]?
    ) {
      self.subject = subject
      self.rule = rule
      self.position = position
      self.sequence = sequence
      self.body = body
    }
  }

  /// What is known of a key.
  package enum Slot: Sendable {
    case entry(Entry)
    /// Somebody else wrote it last.
    case foreign
    /// Its entries are of later changes than are compared.
    case newer
    /// Its last entry is from before the bridge began.
    case before
  }

  package enum Claim: Sendable {
    case absent
    /// Another document has this key.
    case claimed
    case slot(Slot)
  }

  private struct State {
    var part: DocumentPart
    var left: [DocumentPart] = []
    var slots: [DocumentKey: Slot] = [:]
    var claimed: Set<DocumentKey> = []
    var bytes = 0
    var entries: UInt64 = 0
  }

  private let range: ClosedRange<EventPosition>
  private let mostBytes: Int
  private let state: Mutex<State>

  /// - Parameter range: of positions. Entries behind it are `newer`, those before it `before`.
  package init(_ part: DocumentPart, range: ClosedRange<EventPosition>, mostBytes: Int) {
    self.range = range
    self.mostBytes = mostBytes
    state = Mutex(State(part: part))
  }

  package var part: DocumentPart { state.withLock { $0.part } }
  /// Parts that didn't fit.
  package var left: [DocumentPart] { state.withLock { $0.left } }
  /// The bridge's entries in the range, whatever came behind them.
  var entries: UInt64 { state.withLock { $0.entries } }

  /// The next message of the stream that a bucket is.
  func take(
    _ view: borrowing NATSMessageView, _ sequence: UInt64, stream: Int,
    _ ownership: MessageOwnership.InStream
  ) {
    let marks = MessageMarks(view.headers)
    let subject = String(decoding: view.subject, as: UTF8.self)
    guard ownership.owner(of: marks) == .thisBridge, let rule = marks.rule,
      let position = marks.position
    else { return take(nil, subject, stream: stream) }
    let entry = Entry(
      subject: subject, rule: String(decoding: rule, as: UTF8.self), position: position,
      sequence: sequence, body: view.payload.isEmpty ? nil : Array(view.payload))
    take(entry, subject, stream: stream)
  }

  /// - Parameter entry: nil: it is somebody else's.
  package func take(_ entry: Entry?, _ subject: String, stream: Int) {
    let key = BucketPlan.key(stream: stream, subject: subject)
    state.withLock { state in
      guard state.part.contains(key) else { return }
      guard let entry else {
        return set(.foreign, key, &state)
      }
      if entry.position > range.upperBound {
        // What was there at the moment, history may hold still.
        if state.slots[key] == nil { set(.newer, key, &state) }
      } else if entry.position < range.lowerBound {
        set(.before, key, &state)
      } else {
        state.entries += 1
        set(.entry(entry), key, &state)
      }
    }
  }

  private func set(_ slot: Slot, _ key: DocumentKey, _ state: inout State) {
    let old = state.slots.updateValue(slot, forKey: key)
    state.bytes += Self.size(slot, key) - (old.map { Self.size($0, key) } ?? 0)
    while state.bytes > mostBytes, state.slots.count > 1 {
      state.left.append(state.part.halve())
      let part = state.part
      state.slots = state.slots.filter { part.contains($0.key) }
      state.bytes = state.slots.reduce(0) { $0 + Self.size($1.value, $1.key) }
    }
  }

  private static func size(_ slot: Slot, _ key: DocumentKey) -> Int {
    var size = 160 + key.byteCount
    if case .entry(let entry) = slot {
      size += entry.subject.utf8.count + (entry.body?.count ?? 0)
    }
    return size
  }

  /// What is under a document's key. Each document asks once.
  package func claim(_ key: DocumentKey) -> Claim {
    state.withLock { state in
      guard state.claimed.insert(key).inserted else { return .claimed }
      return state.slots[key].map(Claim.slot) ?? .absent
    }
  }

  /// Entries of keys that no document has.
  package var unclaimed: [(DocumentKey, Entry)] {
    state.withLock { state in
      state.slots.compactMap { key, slot in
        guard !state.claimed.contains(key), case .entry(let entry) = slot, entry.body != nil
        else { return nil }
        return (key, entry)
      }
    }
  }
}
