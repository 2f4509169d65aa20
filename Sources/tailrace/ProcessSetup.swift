import Foundation

/// What must hold before anything else is opened.
enum ProcessSetup {
  static func prepare() {
    fillStandardDescriptors()
    raiseDescriptorLimit()
    // A reader that goes away is an error of the write, not the end of the process.
    signal(SIGPIPE, SIG_IGN)
  }

  /// A socket must never get the number of a standard descriptor: it would be sent logs. Output that
  /// was closed stays closed: the one opened in its place refuses to be written to.
  private static func fillStandardDescriptors() {
    for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO]
    where fcntl(descriptor, F_GETFD) < 0 && errno == EBADF {
      // The lowest free number is this one.
      _ = open("/dev/null", O_RDONLY)
    }
  }

  #if canImport(Darwin)
    private static let openFiles = RLIMIT_NOFILE
  #else
    private static let openFiles = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
  #endif

  /// As many as the system allows: connections to both ends must not fail for want of them.
  private static func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(Self.openFiles, &limit) == 0, limit.rlim_cur < limit.rlim_max else {
      return
    }
    // Enough for everything, and not so many that a table of them costs memory.
    limit.rlim_cur = min(limit.rlim_max, max(limit.rlim_cur, 65_536))
    setrlimit(Self.openFiles, &limit)
  }
}
