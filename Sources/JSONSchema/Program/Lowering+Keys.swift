extension Lowering {
  /// Names with their nodes and bits, in order of appearance.
  struct KeySet {
    private(set) var keys: [(bytes: [UInt8], node: Int32, bit: Int32)] = []
    private(set) var tracked = 0
    private var indices: [[UInt8]: Int] = [:]

    private mutating func index(_ name: String) -> Int {
      let bytes = Array(name.utf8)
      if let known = indices[bytes] { return known }
      keys.append((bytes, -1, -1))
      indices[bytes] = keys.count - 1
      return keys.count - 1
    }

    mutating func set(_ name: String, node: Int32) {
      let index = index(name)
      keys[index].node = node
    }

    mutating func track(_ name: String) {
      let index = index(name)
      guard keys[index].bit < 0 else { return }
      keys[index].bit = Int32(tracked)
      tracked += 1
    }

    func bit(_ name: String) -> Int32 { indices[Array(name.utf8)].map { keys[$0].bit } ?? 0 }
  }

  mutating func table(_ keys: KeySet) -> Int32 {
    let first = tables.entries.count
    for key in keys.keys {
      let word = key.bytes.withUnsafeBytes(KeyHash.word)
      tables.entries.append(
        KeyEntry(
          word: word, offset: Int32(tables.text.count), length: Int32(key.bytes.count),
          node: key.node, bit: key.bit))
      tables.text += key.bytes
    }
    var size = 2
    while size < 2 * keys.keys.count { size *= 2 }
    let firstSlot = tables.slots.count
    tables.slots += [Int32](repeating: -1, count: size)
    for index in keys.keys.indices {
      let entry = tables.entries[first + index]
      var slot =
        keys.keys[index].bytes.withUnsafeBytes { KeyHash.hash(entry.word, $0) } & (size - 1)
      while tables.slots[firstSlot + slot] >= 0 { slot = (slot + 1) & (size - 1) }
      tables.slots[firstSlot + slot] = Int32(index)
    }
    tables.tables.append(
      KeyTable(
        first: Int32(first), count: Int32(keys.keys.count), firstSlot: Int32(firstSlot),
        slotMask: Int32(size - 1), longest: Int32(keys.keys.map(\.bytes.count).max() ?? -1),
        firstPrediction: Int32(tables.predictionCount)))
    tables.predictionCount += keys.keys.count + 1
    return Int32(tables.tables.count - 1)
  }
}
