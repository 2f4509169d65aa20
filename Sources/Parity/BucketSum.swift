/// What a run of messages comes to: how many, and what they are.
///
/// `sum` adds up digests, so it does not depend on their order and a message that is there twice
/// cannot cancel itself (as it would with exclusive or). `chain` folds them one after the other: where
/// only that differs, the same messages stand in another order.
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

  /// Whether both hold the same messages, in whatever order.
  public func holdsSame(as other: BucketSum) -> Bool {
    count == other.count && low == other.low && high == other.high
  }
}
