public import Mapping
public import Oplog

/// Where changes are read.
public struct SourceSettings: Sendable, Equatable {
  public enum ReadConcern: String, Sendable, CaseIterable {
    case majority, local
  }

  /// Which way changes are read: both give the same events.
  public enum Reader: String, Sendable, CaseIterable {
    /// local.oplog.rs, raw.
    case oplog
    /// The server's change stream, where the oplog can't be read.
    case changeStream = "change_stream"
  }

  /// What to do if the oplog no longer holds the position.
  public enum OnPositionLost: String, Sendable, CaseIterable {
    /// Exit 75: an operator decides.
    case halt
    /// The existing documents are published, and reading continues after them.
    case snapshot
  }

  /// Where to begin when there is no checkpoint.
  public enum Start: Sendable, Equatable {
    /// At the newest entry.
    case now
    /// At the oldest entry the oplog still holds.
    case oldest
    /// With the existing documents, then with the changes after them.
    case snapshot
    /// At this entry, which the oplog must still hold; its own events are the first.
    case position(OplogPosition)
  }

  public var uri: MongoURI
  /// The identity in message ids; nil for the replica set's name.
  public var name: String?
  public var reader: Reader
  public var readConcern: ReadConcern
  public var start: Start
  public var onPositionLost: OnPositionLost
}

/// How to reach NATS.
public struct NATSSettings: Sendable, Equatable {
  public enum Authentication: Sendable, Equatable {
    case none
    /// A `.creds` file: user JWT and nkey seed.
    case credentials(file: String)
    case nkeySeed(file: String)
    case token(Secret)
    case user(String, password: Secret)
  }

  public struct TLS: Sendable, Equatable {
    /// Files in PEM.
    public var caFile: String?
    public var certificateFile: String?
    public var keyFile: String?
    /// TLS before the server's first word, for servers that are set up that way.
    public var handshakeFirst: Bool
    /// TLS is requested by its own key or by a server's scheme.
    public var isRequired: Bool
  }

  /// At least one; tried in random order.
  public var servers: [NATSServer]
  /// The connection's name.
  public var name: String
  /// The prefix of reply subjects, without a dot at its end.
  public var inboxPrefix: String
  public var authentication: Authentication
  public var tls: TLS
  /// Connects only to the listed servers, not to those that a cluster announces.
  public var ignoresDiscoveredServers: Bool
}

/// The bridge's name and the place of its state.
public struct BridgeSettings: Sendable, Equatable {
  /// The identity of this bridge: state keys, lease, epochs.
  public var name: String
  /// The KV bucket for checkpoint, lease and cut-over state.
  public var stateBucket: String
  public var checkpointInterval: Duration
  /// A leader silent for this long may be replaced by another instance.
  public var lease: Duration
}

/// How groups of rules go over to their new producers.
public struct CutoverSettings: Sendable, Equatable {
  /// In phase `dual`: how long a producer has, from the time of the change, before the bridge publishes in its place.
  public var grace: Duration
  /// How far back a commit looks for what went wrong.
  public var window: Duration

  public static let standard = CutoverSettings(grace: .seconds(2), window: .seconds(600))
}

/// What happens to an event that no rule takes. It is counted in any case.
public enum Unmatched: String, Sendable, CaseIterable {
  case ignore
  case deadLetter = "dead_letter"
  case halt
}

public struct DeadLetterSettings: Sendable, Equatable {
  public var stream: String
  public var subject: DeadLetterSubject
}

public struct HTTPSettings: Sendable, Equatable {
  public var listen: ListenAddress
  /// Required by everything but liveness, readiness and health; nil: by nothing.
  public var token: Secret?
}

public struct LogSettings: Sendable, Equatable {
  public enum Level: String, Sendable, CaseIterable {
    case trace, debug, info, notice, warning, error, critical
  }
  public enum Format: String, Sendable, CaseIterable {
    case json, text
  }

  public var level: Level
  public var format: Format
}
