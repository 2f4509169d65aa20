import BridgeConfiguration
import NIOCore
public import ServiceLifecycle

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Tells systemd (`Type=notify`) that the service is ready, how it is, and that it is alive: `sd_notify(3)`.
///
/// Ready means that it listens, and works or waits for its servers; that one of them is missing is no reason for
/// systemd to restart anything. The watchdog is fed only through the pipeline's own event loop, and not once the
/// bridge has halted: a process that can't make progress is restarted, and resumes exactly.
public struct SystemdNotice: Service {
  private let service: BridgeService
  private let listening: ListeningGate
  private let socket: Socket
  private let interval: Duration
  private let watches: Bool

  /// Nil where no supervisor wants to know.
  public init?(
    for service: BridgeService, listening: ListeningGate, environment: [String: String]
  ) {
    guard let path = environment["NOTIFY_SOCKET"], let socket = Socket(path) else { return nil }
    self.service = service
    self.listening = listening
    self.socket = socket
    let watchdog = environment["WATCHDOG_USEC"].flatMap { Int64($0) } ?? 0
    let isMeant = environment["WATCHDOG_PID"].map { $0 == "\(getpid())" } ?? true
    watches = watchdog > 0 && isMeant
    interval = min(watches ? .microseconds(watchdog / 3) : .seconds(5), .seconds(5))
  }

  public func run() async throws {
    guard await listening.wait() else { return }
    socket.send("READY=1\nSTATUS=\(status)")
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        // A loop that hangs does not answer, and the watchdog is not fed.
        try? await service.eventLoop.submit {}.get()
        let alive = watches && service.board.snapshot.failure == nil
        socket.send((alive ? "WATCHDOG=1\n" : "") + "STATUS=\(status)")
        try? await Task.sleep(for: interval)
      }
    }
    socket.send("STOPPING=1")
  }

  /// One line for `systemctl status`.
  private var status: String {
    let probe = HealthProbe(
      board: service.board, reader: service.reader, monitor: service.monitor)
    let report = probe.report()
    let detail = report.checks.first { $0.name == "pipeline" }?.detail ?? ""
    let role = service.board.snapshot.leadership.role
    return TerminalText.printable("\(report.status.rawValue), \(role): \(detail)")
  }

  /// A datagram socket's address; each message opens a socket of its own, since they are few.
  private struct Socket: Sendable {
    private let path: [UInt8]

    /// Nil for what can't be an address: systemd's are absolute paths, or abstract names behind an @.
    init?(_ text: String) {
      var path = Array(text.utf8)
      guard let first = path.first, path.count < 108 else { return nil }
      if first == UInt8(ascii: "@") { path[0] = 0 }
      guard first == UInt8(ascii: "@") || first == UInt8(ascii: "/") else { return nil }
      self.path = path
    }

    /// Does nothing where nobody listens: systemd's own answer to a missing message is what counts.
    func send(_ message: String) {
      let descriptor = Self.open()
      guard descriptor >= 0 else { return }
      defer { close(descriptor) }
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
      let length = MemoryLayout<sa_family_t>.size + path.count
      let text = Array(message.utf8.prefix(4_000))
      withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
          _ = sendto(
            descriptor, text, text.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL), pointer,
            socklen_t(length))
        }
      }
    }

    private static func open() -> Int32 {
      #if canImport(Darwin)
        Darwin.socket(AF_UNIX, SOCK_DGRAM, 0)
      #else
        Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      #endif
    }
  }
}
