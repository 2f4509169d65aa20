import SeededNumbers

/// Random numbers of one purpose. Each purpose has its own, so that leaving out a fault changes as little as possible
/// of the rest.
struct Chance {
  private var random: SeededRandom

  init(_ seed: UInt64, _ purpose: UInt64) {
    random = SeededRandom(seed: seed &* 0x9E37_79B9_7F4A_7C15 ^ purpose &* 0xD1B5_4A32_D192_ED03)
  }

  mutating func next() -> UInt64 { random.next() }
  mutating func below(_ bound: Int) -> Int { random.below(bound) }
  mutating func one(in count: Int) -> Bool { random.below(count) == 0 }
  mutating func pick<T>(_ values: [T]) -> T { values[random.below(values.count)] }
  mutating func between(_ low: Int64, _ high: Int64) -> Int64 {
    low + Int64(random.below(Int(max(high - low, 0)) + 1))
  }
  /// Many small values and a few large ones.
  mutating func skewed(_ low: Int64, _ high: Int64) -> Int64 {
    let part = Int64(random.below(1000))
    // Its cube, in millionths.
    return low + (high - low) / 1000 * (part * part * part / 1000) / 1000
  }
}
