import JSON

/// A server's version; pre-release suffixes are ignored.
public struct NATSVersion: Sendable, Hashable, Comparable, CustomStringConvertible {
  public var major: Int
  public var minor: Int
  public var patch: Int

  public init(_ major: Int, _ minor: Int, _ patch: Int = 0) {
    self.major = major
    self.minor = minor
    self.patch = patch
  }

  /// From `2.12.8` or `v2.14.0-RC.1`; nil for anything else.
  public init?(_ text: String) {
    var rest = text[...]
    if rest.first == "v" { rest.removeFirst() }
    let core = rest.prefix { $0 != "-" && $0 != "+" }
    let parts = core.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 3, parts.allSatisfy({ $0.utf8.allSatisfy { (48...57).contains($0) } }),
      let major = Int(parts[0]), let minor = Int(parts[1]), let patch = Int(parts[2])
    else { return nil }
    self.init(major, minor, patch)
  }

  public static func < (a: NATSVersion, b: NATSVersion) -> Bool {
    (a.major, a.minor, a.patch) < (b.major, b.minor, b.patch)
  }

  public var description: String { "\(major).\(minor).\(patch)" }
}

/// A server's INFO, sent at connect and on changes.
public struct NATSServerInfo: Sendable, Hashable {
  public var serverID = ""
  public var serverName = ""
  /// 0.0.0 if missing or unreadable.
  public var version = NATSVersion(0, 0, 0)
  /// Maximum size of a message in bytes, including headers.
  public var maxPayload = 1 << 20
  public var headers = false
  public var jetstream = false
  public var authRequired = false
  public var tlsRequired = false
  public var tlsAvailable = false
  /// Maximum number of `connectURLs` kept.
  public static let maximumConnectURLs = 256
  /// Other servers of the cluster, `host:port`: at most `maximumConnectURLs`, each once.
  public var connectURLs: [String] = []
  /// The server is about to shut down; connect to another one.
  public var lameDuck = false
  public var clientID: UInt64 = 0
  public var clientIP = ""
  /// For nkey and JWT users to sign.
  public var nonce: String?
  public var cluster: String?
  public var domain: String?

  public init() {}

  /// - Parameter json: the text after `INFO `.
  /// - Throws: `protocolViolation`.
  package init(parsing json: some Sequence<UInt8>) throws(NATSError) {
    let info: JSONValue
    do {
      info = try JSONValue(parsing: json)
    } catch {
      throw NATSError(.protocolViolation, "the server's INFO is \(error)")
    }
    guard info.objectValue != nil else {
      throw NATSError(.protocolViolation, "the server's INFO is not a JSON object")
    }
    serverID = info["server_id"]?.stringValue ?? ""
    serverName = info["server_name"]?.stringValue ?? ""
    version = info["version"]?.stringValue.flatMap { NATSVersion($0) } ?? version
    if let limit = info["max_payload"]?.integer(Int.self), limit > 0, limit <= Int(Int32.max) {
      maxPayload = limit
    }
    headers = info["headers"]?.boolValue ?? false
    jetstream = info["jetstream"]?.boolValue ?? false
    authRequired = info["auth_required"]?.boolValue ?? false
    tlsRequired = info["tls_required"]?.boolValue ?? false
    tlsAvailable = info["tls_available"]?.boolValue ?? false
    connectURLs = Self.addresses(info["connect_urls"]?.arrayValue ?? [])
    lameDuck = info["ldm"]?.boolValue ?? false
    clientID = info["client_id"]?.integer() ?? 0
    clientIP = info["client_ip"]?.stringValue ?? ""
    nonce = info["nonce"]?.stringValue
    cluster = info["cluster"]?.stringValue
    domain = info["domain"]?.stringValue
  }
  /// A random selection if there are too many, so that reconnecting doesn't always use the same few.
  private static func addresses(_ values: [JSONValue]) -> [String] {
    // A host name has at most 253 bytes, an address with its scope fewer.
    let usable = values.compactMap(\.stringValue).filter { $0.utf8.count <= 270 }
    var seen: Set<String> = []
    let each = usable.filter { seen.insert($0).inserted }
    return each.count <= maximumConnectURLs
      ? each : Array(each.shuffled().prefix(maximumConnectURLs))
  }
}
