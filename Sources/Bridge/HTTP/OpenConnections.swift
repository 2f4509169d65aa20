import NIOCore
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The HTTP connections that are open, never more than a limit: beyond it the one that has waited
/// longest is closed for the new one. So every client is answered, however many connections others
/// keep open, and the connections to the two ends always find a descriptor. Thread-safe.
final class OpenConnections: Sendable {
  private struct Entry {
    var channel: any Channel
    /// Grows with every connection and every answer.
    var lastUse: UInt64
  }
  private struct State {
    var open: [ObjectIdentifier: Entry] = [:]
    var uses: UInt64 = 0
    /// No more are opened.
    var isDraining = false
  }

  private let limit: Int
  private let state = Mutex(State())

  init(limit: Int) { self.limit = limit }

  /// A quarter of the files that this process may open: enough for people and monitoring.
  static func limit(descriptors: Int) -> Int { min(max((descriptors - 64) / 4, 8), 128) }

  /// How many files this process may open.
  static var descriptors: Int {
    #if canImport(Darwin)
      let resource = RLIMIT_NOFILE
    #else
      let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    #endif
    var limit = rlimit()
    guard getrlimit(resource, &limit) == 0 else { return 256 }
    return Int(clamping: limit.rlim_cur)
  }

  func opened(_ channel: any Channel) {
    let oldest = state.withLock { state -> (any Channel)? in
      if state.isDraining { return channel }
      state.uses += 1
      state.open[ObjectIdentifier(channel)] = Entry(channel: channel, lastUse: state.uses)
      guard state.open.count > limit else { return nil }
      guard let oldest = state.open.min(by: { $0.value.lastUse < $1.value.lastUse }) else {
        return nil
      }
      state.open[oldest.key] = nil
      return oldest.value.channel
    }
    oldest?.close(promise: nil)
  }

  /// It got an answer, so it no longer waits longest.
  func used(_ channel: any Channel) {
    state.withLock { state in
      state.uses += 1
      state.open[ObjectIdentifier(channel)]?.lastUse = state.uses
    }
  }

  func closed(_ channel: any Channel) {
    state.withLock { $0.open[ObjectIdentifier(channel)] = nil }
  }

  /// Closes those that rest, and those that are being answered once their client has the answer; no more
  /// are opened. Returns when all are closed: timeouts see to it.
  func drain() async {
    let channels = state.withLock { state in
      state.isDraining = true
      return state.open.values.map(\.channel)
    }
    for channel in channels {
      channel.pipeline.fireUserInboundEventTriggered(ConnectionTimeouts.Drain())
    }
    for channel in channels { try? await channel.closeFuture.get() }
  }
}
