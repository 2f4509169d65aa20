/// One machine's clocks: how they relate to the world's time. In nanoseconds.
struct SimulatedClock {
  /// A moment of the world, and what the monotonic clock showed then.
  private var anchor: (world: Int64, local: Int64)
  /// How fast the clock runs, in millionths more (or less) than the world.
  private(set) var drift: Int64
  /// What the wall clock shows beyond the monotonic one.
  private(set) var wallOffset: Int64
  /// For how long the machine was suspended: the monotonic clock does not count it, the one since the boot does.
  private(set) var suspended: Int64 = 0

  /// - Parameter wall: what the wall clock shows at `world`.
  init(world: Int64, local: Int64, wall: Int64, drift: Int64 = 0) {
    anchor = (world, local)
    self.drift = drift
    wallOffset = wall - local
  }

  func monotonic(at world: Int64) -> Int64 {
    let passed = world - anchor.world
    return anchor.local + passed + passed / 1_000_000 * drift
  }

  func wall(at world: Int64) -> Int64 { monotonic(at: world) + wallOffset }

  /// The first moment of the world at which the monotonic clock shows `local` or more.
  func world(when local: Int64) -> Int64 {
    let passed = local - anchor.local
    guard passed > 0 else { return anchor.world }
    var world = anchor.world + passed - passed / (1_000_000 + drift) * drift
    while monotonic(at: world) < local { world += 1 + (local - monotonic(at: world)) / 2 }
    return world
  }

  /// The wall clock is set. The monotonic one is not.
  mutating func jump(by nanoseconds: Int64) { wallOffset += nanoseconds }

  /// The machine was suspended from `began` until now.
  mutating func suspend(from began: Int64, to world: Int64) {
    let local = monotonic(at: began)
    let missed = monotonic(at: world) - local
    anchor = (world, local)
    suspended += missed
    wallOffset += missed
  }

  mutating func setDrift(_ millionths: Int64, at world: Int64) {
    anchor = (world, monotonic(at: world))
    drift = millionths
  }
}
