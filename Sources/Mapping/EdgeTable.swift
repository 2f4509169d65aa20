/// Edges of trees by the hash of a name: open addressing, so that looking one up neither hashes twice nor
/// counts references. Its longest run depends on the rules alone, whatever documents hold.
struct EdgeTable {
  /// Edges, or -1.
  private var slots: [Int32] = []
  private var hashes: [UInt64] = []
  private var count = 0

  static func hash(_ state: Int32, _ name: UnsafeRawBufferPointer) -> UInt64 {
    var hash = 0xCBF2_9CE4_8422_2325 ^ UInt64(UInt32(bitPattern: state))
    for byte in name { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    // The low bits choose the slot.
    return hash ^ hash &>> 32
  }

  mutating func insert(_ edge: Int32, _ hash: UInt64) {
    if 2 * (count + 1) > slots.count { grow() }
    count += 1
    place(edge, hash)
  }

  private mutating func place(_ edge: Int32, _ hash: UInt64) {
    var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
    while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
    slots[slot] = edge
    hashes[slot] = hash
  }

  private mutating func grow() {
    let (edges, known) = (slots, hashes)
    slots = Array(repeating: -1, count: max(16, 2 * edges.count))
    hashes = Array(repeating: 0, count: slots.count)
    for (edge, hash) in zip(edges, known) where edge >= 0 { place(edge, hash) }
  }

  /// The first edge with that hash that `isIt`; -1 if there is none.
  @inline(__always)
  func first(_ hash: UInt64, where isIt: (Int32) -> Bool) -> Int32 {
    guard count > 0 else { return -1 }
    var slot = Int(truncatingIfNeeded: hash) & (slots.count &- 1)
    while true {
      let edge = slots[slot]
      if edge < 0 { return -1 }
      if hashes[slot] == hash, isIt(edge) { return edge }
      slot = (slot &+ 1) & (slots.count &- 1)
    }
  }
}
