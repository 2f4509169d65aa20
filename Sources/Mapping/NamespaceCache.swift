import BSON

/// Which rules a namespace concerns, remembered by its bytes.
///
/// Events come in runs of one namespace, so the last one answers without hashing. Namespaces beyond
/// `limit` clear the cache: a source that makes collections without end must not fill the memory.
struct NamespaceCache: ~Copyable {
  private struct Entry {
    var hash: UInt64
    var name: Int
    var nameCount: Int
    var rules: Int
    var ruleCount: Int
  }

  static let limit = 4096

  private var entries: [Entry] = []
  /// Open addressing: indexes into `entries`, -1 where free. A power of two, at most half full.
  private var slots = [Int32](repeating: -1, count: 2 * NamespaceCache.limit)
  private var names = ByteWriter(capacity: 4096)
  /// Indexes of rules, ascending, those of each entry in a run.
  private(set) var rules: [Int32] = []
  private var last = -1

  /// The run of `rules` whose namespace pattern takes `namespace`; `matches` is asked once per
  /// namespace and rule.
  mutating func lookup(
    _ namespace: UnsafeRawBufferPointer, ruleCount: Int, matches: (Int) -> Bool
  ) -> Range<Int> {
    if last >= 0 {
      let entry = entries[last]
      if name(of: entry).equals(namespace) {
        return entry.rules..<(entry.rules &+ entry.ruleCount)
      }
    }
    last = find(namespace, ruleCount: ruleCount, matches: matches)
    let entry = entries[last]
    return entry.rules..<(entry.rules &+ entry.ruleCount)
  }

  private func name(of entry: Entry) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: names.bytes[entry.name..<(entry.name &+ entry.nameCount)])
  }

  private mutating func find(
    _ namespace: UnsafeRawBufferPointer, ruleCount: Int, matches: (Int) -> Bool
  ) -> Int {
    let hash = fnv1a(namespace)
    var slot = Int(truncatingIfNeeded: hash) & (slots.count &- 1)
    while slots[slot] >= 0 {
      let index = Int(slots[slot])
      if entries[index].hash == hash, name(of: entries[index]).equals(namespace) { return index }
      slot = (slot &+ 1) & (slots.count &- 1)
    }
    if entries.count == Self.limit {
      clear()
      slot = Int(truncatingIfNeeded: hash) & (slots.count &- 1)
    }
    let firstRule = rules.count
    for rule in 0..<ruleCount where matches(rule) { rules.append(Int32(rule)) }
    entries.append(
      Entry(
        hash: hash, name: names.count, nameCount: namespace.count, rules: firstRule,
        ruleCount: rules.count - firstRule))
    names.append(namespace)
    slots[slot] = Int32(entries.count - 1)
    return entries.count - 1
  }

  private mutating func clear() {
    entries.removeAll(keepingCapacity: true)
    for slot in slots.indices { slots[slot] = -1 }
    names.removeAll()
    rules.removeAll(keepingCapacity: true)
  }
}

/// FNV-1a, 64 bits.
@inline(__always)
private func fnv1a(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
  var hash: UInt64 = 0xCBF2_9CE4_8422_2325
  for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
  return hash
}
