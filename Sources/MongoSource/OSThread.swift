internal import CMongoC

/// Operating system threads, for calls that block: libmongoc's. The cooperative pool must not wait
/// in them, and a libmongoc client belongs to one thread.
enum OSThread {
  /// Runs `body` on a new thread. False if the system refuses one.
  static func start(_ name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
    let box = Unmanaged.passRetained(Body(run: body))
    let result = tailrace_thread_start(
      name,
      { Unmanaged<Body>.fromOpaque($0).takeRetainedValue().run() }, box.toOpaque())
    if result != 0 { box.release() }
    return result == 0
  }

  /// In words.
  static func refusal(_ name: String) -> String {
    "the system refuses to start a thread (\(name)): look at limits of processes and memory (ulimit -u, pids.max)"
  }

  private final class Body: Sendable {
    let run: @Sendable () -> Void

    init(run: @escaping @Sendable () -> Void) { self.run = run }
  }
}
