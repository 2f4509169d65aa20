internal import CMongoC

/// Operating system threads for libmongoc's blocking calls, which must not block Swift's cooperative
/// pool. A libmongoc client also belongs to one thread.
enum OSThread {
  /// Runs `body` on a new thread. False if the system refuses one.
  static func start(_ name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
    // The retain is consumed exactly once: by the new thread, or below if there is none.
    let box = Unmanaged.passRetained(Body(run: body))
    let result = tailrace_thread_start(
      name,
      { Unmanaged<Body>.fromOpaque($0).takeRetainedValue().run() }, box.toOpaque())
    if result != 0 { box.release() }
    return result == 0
  }

  /// The message for a refused thread.
  static func refusal(_ name: String) -> String {
    "the system refuses to start a thread (\(name)): check process and memory limits (ulimit -u, pids.max)"
  }

  private final class Body: Sendable {
    let run: @Sendable () -> Void

    init(run: @escaping @Sendable () -> Void) { self.run = run }
  }
}
