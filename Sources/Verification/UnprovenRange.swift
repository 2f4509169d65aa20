import Bridge
import Oplog
import Parity

/// Where nothing says with which configuration messages were made, since the checkpoint that knew it was
/// lost. What agrees there agrees; what differs may be of other rules.
struct UnprovenRange: Sendable {
  /// Everything up to here; nil: documents, which messages from anywhere have made.
  let through: EventPosition?
  /// Where the checkpoint was found again.
  let at: OplogPosition
  /// Streams in which a message that is gone was removed, whatever the rules were: nobody else publishes
  /// there, and nothing pushes messages out.
  private let certain: Set<String>

  init(through: EventPosition?, at: OplogPosition, _ streams: [VerifyStream]) {
    self.through = through
    self.at = at
    certain = Set(
      streams.filter { stream in
        !stream.isShared && !stream.isDeadLetter && stream.perSubject == 0 && !stream.givesAway
      }.map(\.name))
  }

  /// Whether other rules may explain the difference.
  func mayExplain(_ mismatch: Mismatch) -> Bool {
    if mismatch.kind == .gap, certain.contains(mismatch.stream) { return false }
    guard let through, let position = mismatch.position else { return true }
    return position <= through
  }
}
