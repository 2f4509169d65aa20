/// How to connect. The defaults suit a service that must notice a dead server within half a minute.
public struct NATSOptions: Sendable {
  /// Shown by the server in its logs and monitoring.
  public var name: String
  public var authentication: NATSAuthentication
  /// nil: encrypted only when the address says `tls://` or the server requires it, and then with
  /// the system's trusted authorities.
  public var tls: NATSTLS?
  /// For each server: name resolution, TCP, TLS and the server's first PONG together.
  public var connectTimeout: Duration
  /// How long a server has before the next one is tried beside it; the first to accept is taken.
  public var connectStagger: Duration
  /// Only the servers given to `connect`, never those that a cluster announces.
  public var ignoreDiscoveredServers: Bool
  /// How often a silent server is pinged.
  public var pingInterval: Duration
  /// So many pings may be unanswered; one more interval of silence and the connection is stale.
  public var maxPingsOutstanding: Int
  /// The server confirms every line with +OK. For debugging.
  public var verbose: Bool
  /// The server checks subjects more strictly. For debugging.
  public var pedantic: Bool
  /// Whether our own messages come back to our own subscriptions.
  public var echo: Bool
  /// Try the servers in random order rather than as listed.
  public var shuffle: Bool
  /// What reply subjects begin with; users with narrow permissions may be given one of their own.
  public var inboxPrefix: String
  /// Bytes that may wait for the socket. Beyond this `publish` waits and `enqueue` throws.
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

/// How the connection is encrypted. Files are PEM.
public struct NATSTLS: Sendable, Hashable {
  public enum Verification: Sendable, Hashable {
    /// Chain and host name.
    case full
    /// Chain only.
    case noHostname
    /// Nothing: whoever sits in between can read everything. For tests.
    case none
  }

  /// Authorities to trust instead of the system's.
  public var caFile: String?
  /// Our certificate (with its chain), for servers that ask for one (`verify: true`).
  public var certificateFile: String?
  public var keyFile: String?
  /// TLS before the server's INFO: for servers with `handshake_first` (2.10.4 and newer).
  public var handshakeFirst: Bool
  /// Name to expect in the server's certificate; default: the host of its address.
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
