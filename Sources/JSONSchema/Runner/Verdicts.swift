/// Remembered results of schemas for the parts of one value.
///
/// Only for values that take many steps (see `SchemaBudget`): a schema whose branches look into the
/// same member twice takes twice the time at every level.
struct Verdicts {
  struct Key: Hashable {
    var node: Int
    /// Where the part's bytes are: within one value, that identifies it. Compared only, never read.
    var place: UnsafeRawPointer?
  }

  private var known: [Key: Bool] = [:]

  private static let most = 65_536
  private static let kept = 1_024

  subscript(key: Key) -> Bool? { known[key] }

  /// False if it is full.
  mutating func add(_ verdict: Bool, for key: Key) -> Bool {
    guard known.count < Self.most else { return false }
    known[key] = verdict
    return true
  }

  /// Before the next value.
  mutating func clear() {
    if known.isEmpty { return }
    known.removeAll(keepingCapacity: known.count <= Self.kept)
  }
}
