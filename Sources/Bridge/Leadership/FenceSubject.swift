/// The subjects of fences: messages by which a new leader shuts out its predecessors from a stream that others publish
/// to as well (docs/leadership.md).
///
/// They belong to no event and have no headers of the bridge, so that everything that reads streams takes them for
/// somebody else's.
package enum FenceSubject {
  static let prefix = "tailrace.fence"

  /// The one of this bridge in that stream.
  package static func own(bridge: String, stream: String) -> String {
    "\(prefix).\(token(stream)).\(token(bridge))"
  }

  /// Those of all bridges, as the stream lists it among its subjects: the same for each, so that two bridges that add it
  /// at the same time don't undo each other's change.
  package static func all(in stream: String) -> String { "\(prefix).\(token(stream)).*" }

  /// Whether that subject is a fence's.
  package static func contains(_ subject: String) -> Bool { subject.hasPrefix("\(prefix).") }

  /// So many characters of a name are kept. Fences are asserted by header lines, and all lines that a protocol adds to
  /// a message have to fit into 256 bytes (`MessageLimits.allowance`).
  private static let longest = 14

  /// The name, or a hash of it (FNV-1a, 56 bits) where that is too long.
  private static func token(_ name: String) -> String {
    guard name.utf8.count > longest else { return name }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    let digits = String(hash >> 8, radix: 16)
    return String(repeating: "0", count: longest - digits.count) + digits
  }
}
