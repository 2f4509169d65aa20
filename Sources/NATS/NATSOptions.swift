/// Connection options. With the defaults, a dead server is detected within half a minute.
public struct NATSOptions: Sendable {
  /// The client's name in the server's logs and monitoring.
  public var name: String
  public var authentication: NATSAuthentication
  /// Nil: encrypted only if the address has `tls://` or the server requires it, with the system's trusted
  /// authorities.
  public var tls: NATSTLS?
  /// For each server, in total: name resolution, TCP, TLS and the server's first PONG.
  public var connectTimeout: Duration
  /// The interval after which the next server is tried concurrently; the first one to accept wins.
  public var connectStagger: Duration
  /// Use only the servers given to `connect`, not those announced by a cluster.
  public var ignoreDiscoveredServers: Bool
  /// The interval of pings.
  public var pingInterval: Duration
  /// Maximum unanswered pings; after one more interval of silence the connection is stale.
  public var maxPingsOutstanding: Int
  /// The server acknowledges every line with +OK. For debugging.
  public var verbose: Bool
  /// The server validates subjects more strictly. For debugging.
  public var pedantic: Bool
  /// Whether our subscriptions receive our own messages.
  public var echo: Bool
  /// Try the servers in random order.
  public var shuffle: Bool
  /// The prefix of reply subjects; restricted users may need their own.
  public var inboxPrefix: String
  /// Maximum pending bytes. Beyond it, `publish` waits and `enqueue` throws.
  public var maxPendingBytes: Int

  public init(
    name: String = "tailrace", authentication: NATSAuthentication = .none, tls: NATSTLS? = nil,
    connectTimeout: Duration = .seconds(5), connectStagger: Duration = .milliseconds(250),
    ignoreDiscoveredServers: Bool = false, pingInterval: Duration = .seconds(10),
    maxPingsOutstanding: Int = 2, verbose: Bool = false, pedantic: Bool = false,
    echo: Bool = true, shuffle: Bool = true, inboxPrefix: String = "_INBOX",
    maxPendingBytes: Int = 8 << 20
  ) {
    self.name = name
    self.authentication = authentication
    self.tls = tls
    self.connectTimeout = connectTimeout
    self.connectStagger = connectStagger
    self.ignoreDiscoveredServers = ignoreDiscoveredServers
    self.pingInterval = pingInterval
    self.maxPingsOutstanding = maxPingsOutstanding
    self.verbose = verbose
    self.pedantic = pedantic
    self.echo = echo
    self.shuffle = shuffle
    self.inboxPrefix = inboxPrefix
    self.maxPendingBytes = maxPendingBytes
  }
}

/// TLS options. Files are PEM.
public struct NATSTLS: Sendable, Hashable {
  public enum Verification: Sendable, Hashable {
    /// Chain and host name.
    case full
    /// Chain only.
    case noHostname
    /// Nothing: open to man-in-the-middle attacks. For tests.
    case none
  }

  /// Trusted authorities, instead of the system's.
  public var caFile: String?
  /// Our certificate with its chain, for servers that require one (`verify: true`).
  public var certificateFile: String?
  public var keyFile: String?
  /// TLS before the server's INFO, for servers with `handshake_first` (from 2.10.4 on).
  public var handshakeFirst: Bool
  /// The expected name in the server's certificate; default: the host of its address.
  public var serverName: String?
  public var verify: Verification

  public init(
    caFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil,
    handshakeFirst: Bool = false, serverName: String? = nil, verify: Verification = .full
  ) {
    self.caFile = caFile
    self.certificateFile = certificateFile
    self.keyFile = keyFile
    self.handshakeFirst = handshakeFirst
    self.serverName = serverName
    self.verify = verify
  }
}
