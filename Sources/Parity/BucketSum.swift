/// A summary of a run of messages: their number, sum and chain.
///
/// The sum of digests (`low`, `high`) doesn't depend on their order, and a duplicate doesn't cancel itself,
/// as it would with exclusive or. `chain` depends on the order: if only that differs, the same messages
/// are in a different order.
public struct BucketSum: Sendable, Equatable {
  public private(set) var count: UInt64 = 0
  private var low: UInt64 = 0
  private var high: UInt64 = 0
  private var chain: UInt64 = 0

  public init() {}

  public mutating func add(_ digest: MessageDigest) {
    count &+= 1
    low &+= digest.low
    high &+= digest.high
    chain = DigestMix.fold(chain ^ 0x9E37_79B9_7F4A_7C15, digest.low ^ 0xD6E8_FEB8_6659_FD93)
  }

  /// Whether both have the same messages, in any order.
  public func holdsSame(as other: BucketSum) -> Bool {
    count == other.count && low == other.low && high == other.high
  }
}
