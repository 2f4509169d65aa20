internal import NIOCore
import Synchronization

/// State shared by a connection's event loop and other threads.
final class ConnectionShared: Sendable {
  /// The subscription of the request inbox.
  static let requestSid: UInt64 = 1

  private struct State {
    var info = NATSServerInfo()
    var end: NATSError??
    var onInfo: [@Sendable (NATSServerInfo) -> Void] = []
    var onError: [@Sendable (NATSError) -> Void] = []
  }

  private let state = Mutex(State())
  private let lastSid = Atomic<UInt64>(requestSid)
  private let closedPromise: EventLoopPromise<NATSError?>
  let outbox: Outbox
  let requests: RequestTable

  init(eventLoop: any EventLoop, options: NATSOptions) {
    closedPromise = eventLoop.makePromise()
    outbox = Outbox(limit: max(options.maxPendingBytes, 64 << 10))
    requests = RequestTable(inbox: NATSInbox.make(prefix: options.inboxPrefix))
  }

  var closed: EventLoopFuture<NATSError?> { closedPromise.futureResult }
  var info: NATSServerInfo { state.withLock { $0.info } }
  /// What every publish needs.
  var limits: (maxPayload: Int, headers: Bool) {
    state.withLock { ($0.info.maxPayload, $0.info.headers) }
  }
  var hasEnded: Bool { state.withLock { $0.end != nil } }

  func nextSid() -> UInt64 { lastSid.add(1, ordering: .relaxed).newValue }

  func setInfo(_ info: NATSServerInfo) { state.withLock { $0.info = info } }

  func announceInfo() {
    let (info, callbacks) = state.withLock { ($0.info, $0.onInfo) }
    for callback in callbacks { callback(info) }
  }

  /// - Returns: whether there are callbacks.
  func announce(_ error: NATSError) -> Bool {
    let callbacks = state.withLock { $0.onError }
    for callback in callbacks { callback(error) }
    return !callbacks.isEmpty
  }

  func addInfoCallback(_ callback: @escaping @Sendable (NATSServerInfo) -> Void) {
    state.withLock { $0.onInfo.append(callback) }
  }

  func addErrorCallback(_ callback: @escaping @Sendable (NATSError) -> Void) {
    state.withLock { $0.onError.append(callback) }
  }

  /// The connection has ended; nil: closed by us.
  func end(_ error: NATSError?) {
    let first = state.withLock { state in
      guard state.end == nil else { return false }
      state.end = .some(error)
      state.onInfo = []
      state.onError = []
      return true
    }
    if first { closedPromise.succeed(error) }
  }

  /// The error for calls after the end; nil while the connection is open.
  func endedError(_ address: NATSServerAddress) -> NATSError? {
    guard let end = state.withLock({ $0.end }) else { return nil }
    return NATSError(
      .closed, end.map { "the connection has ended: \($0.message)" } ?? "the connection is closed",
      server: address.endpoint)
  }
}
