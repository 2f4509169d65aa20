package import Oplog

/// A stream's record of a bridge: kept in the stream's metadata, so that it is lost with the stream and not
/// with the checkpoint.
package enum StreamMark: Sendable, Equatable, CustomStringConvertible {
  /// The first messages for the stream.
  package enum Beginning: Sendable, Equatable {
    /// Events from there on. The entry was in the oplog when the mark was written.
    case position(Checkpoint.Origin)
    /// Documents of a snapshot that had begun.
    case snapshot
  }

  /// When it was written, the stream had never held a message of the bridge, and lacked none from before that
  /// beginning. Nil in marks of older versions, and for a start at a future position.
  case unused(Beginning?)
  /// It has held messages of the bridge, of events from `from` on.
  case used(from: OplogPosition, inclusive: Bool)
  /// Messages of a snapshot were among them.
  case snapshot

  var isUnused: Bool {
    if case .unused = self { true } else { false }
  }

  /// The mark of a stream that gets its first messages from `origin` on.
  package static func unused(_ origin: Checkpoint.Origin) -> StreamMark {
    .unused(.position(origin))
  }

  package var description: String {
    switch self {
    case .unused(nil): "unused"
    case .unused(.snapshot): "unused snapshot"
    case .unused(.position(let origin)): "unused \(Self.words(origin))"
    case .used(let from, let inclusive):
      Self.words(Checkpoint.Origin(position: from, inclusive: inclusive))
    case .snapshot: "snapshot"
    }
  }

  package init?(_ text: String) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    switch (words[0], words.count) {
    case ("unused", 1): self = .unused(nil)
    case ("unused", 2) where words[1] == "snapshot": self = .unused(.snapshot)
    case ("unused", 3):
      guard let origin = Self.origin(words[1...]) else { return nil }
      self = .unused(.position(origin))
    case ("snapshot", 1): self = .snapshot
    default:
      guard words.count == 2, let origin = Self.origin(words[...]) else { return nil }
      self = .used(from: origin.position, inclusive: origin.inclusive)
    }
  }

  private static func words(_ origin: Checkpoint.Origin) -> String {
    "\(origin.inclusive ? "from" : "after") \(origin.position)"
  }

  private static func origin(_ words: ArraySlice<Substring>) -> Checkpoint.Origin? {
    guard let word = words.first, word == "from" || word == "after", let last = words.last,
      let position = OplogPosition(last)
    else { return nil }
    return Checkpoint.Origin(position: position, inclusive: word == "from")
  }
}

extension StreamMark {
  /// Why a mark is written.
  package enum Occasion: Sendable {
    /// The bridge's beginning is decided, or known from its checkpoint: it overrides the marks of unused
    /// streams.
    case decided
    /// Everything before the mark's position is settled.
    case settled
    /// The same in another epoch: written only if the stream has no such mark yet.
    case repeated
  }

  /// What to write where the stream has `present`; nil: that covers it already.
  package func replacing(_ present: StreamMark?, _ occasion: Occasion) -> StreamMark? {
    guard let present else { return self }
    switch (self, present) {
    case (_, self): return nil
    case (.unused(let new), .unused(let old)): return Self.says(new, old, occasion) ? self : nil
    case (.unused, _): return nil
    case (.used(let from, _), .unused(.position(let since))):
      // What came before was never in it.
      guard from < since.position else { return self }
      return .used(from: since.position, inclusive: since.inclusive)
    case (.used, .unused): return self
    case (.used(let new, _), .used(let old, _)): return new < old ? self : nil
    case (.used, .snapshot): return nil
    case (.snapshot, _): return self
    }
  }

  private static func says(_ new: Beginning?, _ old: Beginning?, _ occasion: Occasion) -> Bool {
    switch (new, old) {
    case (.position(let new), .position(let old)):
      switch occasion {
      case .decided: true
      case .settled: new.position > old.position
      case .repeated: false
      }
    case (nil, _): occasion == .decided
    case (_, nil), (.snapshot, _), (_, .snapshot): true
    }
  }

  /// Whether the mark of an unused stream is so old that the oplog may soon not reach back to it.
  package func isStale(at resume: OplogPosition) -> Bool {
    guard case .unused(.position(let origin)) = self else { return false }
    return resume.seconds >= origin.position.seconds
      && resume.seconds - origin.position.seconds >= Self.staleSeconds
  }

  private static var staleSeconds: UInt32 { 3600 }
}

extension StreamMark.Beginning {
  /// From where on a stream without a message is filled if reading begins at `entry` and everything before it
  /// is settled. Nil if the bridge's own beginning lies in the future.
  package init?(at entry: OplogPosition, of origin: Checkpoint.Origin) {
    guard origin.position <= entry else { return nil }
    self = .position(
      Checkpoint.Origin(
        position: entry, inclusive: origin.position < entry || origin.inclusive))
  }
}
