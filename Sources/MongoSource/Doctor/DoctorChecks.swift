internal import Oplog

// The checks are pure, so each verdict is tested without a deployment. A check that lacks the
// privileges it needs is a warning, never a failure.

extension DoctorFacts {
  /// All checks, in the order of a manual examination.
  package func diagnose(_ demands: MongoDemands) -> [Diagnosis] {
    var checks = [reachable, versionCheck, featureCheck, setCheck]
    checks.append(accessCheck)
    checks.append(libraryCheck)
    checks.append(oplogReadCheck(demands))
    if let changeStream { checks.append(changeStreamCheck(changeStream, demands)) }
    checks.append(majorityCheck)
    if oplog.value != nil {
      checks.append(windowCheck(demands))
      if let checkpoint = demands.checkpoint { checks.append(checkpointCheck(checkpoint, demands)) }
      if let start = demands.start, demands.readsOplog { checks.append(startCheck(start, demands)) }
    }
    checks.append(membersCheck)
    checks.append(lagCheck)
    checks.append(toleranceCheck)
    checks.append(clockCheck)
    checks += collectionChecks(demands)
    checks += readsChecks
    checks += namespaceChecks(demands)
    return checks.sharingRemedies
  }

  private var reachable: Diagnosis {
    Diagnosis(
      "mongodb.reachable", .ok,
      "\(host) answers"
        + (access.user.map { ", authenticated as \($0.name)" } ?? ", without authentication"))
  }

  // MARK: Version

  /// Releases in the test suite, and releases known only from MongoDB's documentation and source.
  private static let tested = ["4.4", "5.0", "6.0"]
  private static let supported = ["7.0", "8.0", "8.1", "8.2"]

  private var versionCheck: Diagnosis {
    let id = "mongodb.version"
    guard let version = version.value else {
      return Diagnosis(id, .warn, "can't be seen: \(self.version.obstacle)")
    }
    let numbers = version.split(separator: ".").prefix(2)
    let release = numbers.joined(separator: ".")
    let rehearsal =
      "# Rehearse with the real load before relying on it:\ntailrace run --dry-run --until now"
    switch release {
    case _ where Self.tested.contains(release):
      return Diagnosis(id, .ok, "\(version): supported and tested")
    case _ where Self.supported.contains(release):
      return Diagnosis(
        id, .warn,
        "\(version): supported, but not among the tested "
          + "(\(Self.tested.joined(separator: ", ")))", remedy: rehearsal)
    case _ where Self.isBefore(release, 4, 4):
      return Diagnosis(
        id, .fail, "\(version) is too old: its oplog has a different format",
        remedy: "// Upgrade the replica set to 4.4 or newer, one release at a time.")
    default:
      return Diagnosis(
        id, .warn,
        "\(version) is unknown to this program, which halts at the first "
          + "oplog entry of an unknown kind", remedy: rehearsal)
    }
  }

  private static func isBefore(_ release: String, _ major: Int, _ minor: Int) -> Bool {
    let numbers = release.split(separator: ".").map { Int($0) ?? .max }
    return (numbers.first ?? .max, numbers.count > 1 ? numbers[1] : 0) < (major, minor)
  }

  private var featureCheck: Diagnosis {
    let id = "mongodb.feature_compatibility"
    guard let feature = feature.value else {
      return Diagnosis(
        id, .warn, "can't be seen (find on admin.system.version): \(self.feature.obstacle)",
        remedy: self.feature.isForbidden ? give(DoctorRole.doctor, as: "doctor") : nil)
    }
    if let target = feature.target {
      return Diagnosis(
        id, .warn,
        "changing from \(feature.version) to \(target): the format of oplog entries "
          + "changes when it is done",
        remedy: "db.adminCommand({ getParameter: 1, featureCompatibilityVersion: 1 })"
          + "  // wait until it is done before the migration starts")
    }
    if Self.isBefore(feature.version, 4, 4) {
      return Diagnosis(
        id, .warn,
        "\(feature.version): the oplog has a format older than 4.4, which is supported but not tested",
        remedy: "db.adminCommand({ setFeatureCompatibilityVersion: \"4.4\" })")
    }
    return Diagnosis(id, .ok, feature.version)
  }

  // MARK: The set

  private var setCheck: Diagnosis {
    let id = "mongodb.replica_set"
    if let shard = feature.value?.shard {
      return Diagnosis(
        id, .warn,
        "\(set.name) is the shard \(shard) of a cluster: its oplog holds this shard's "
          + "documents only; documents that the balancer moves here have no events",
        remedy: "// Run one bridge per shard, each with its own source.name, or set "
          + "source.reader: change_stream with the address of a mongos.")
    }
    return Diagnosis(
      id, .ok, "\(set.name): \(set.dataMembers.count) with data, \(set.arbiters.count) arbiters")
  }

  private var accessCheck: Diagnosis {
    let id = "mongodb.access"
    let remote = Set(access.hosts + set.dataMembers).filter { !Self.isLoopback($0) }.sorted()
    guard !remote.isEmpty else {
      return Diagnosis(id, .ok, "all members are on this machine")
    }
    var weak: [String] = []
    var remedies: [String] = []
    if !access.usesTLS {
      weak.append("the connection is not encrypted")
      remedies.append(
        "# In source.uri (and net.tls.mode: requireTLS in mongod.conf):\n"
          + "tls=true&tlsCAFile=/path/to/ca.pem")
    }
    if access.user == nil {
      weak.append(
        oplog.value == nil
          ? "source.uri names no user" : "anyone can read the oplog without a password")
      remedies.append(DoctorRole.commands(databases: []))
    }
    let to = remote.prefix(3).joined(separator: ", ")
    guard !weak.isEmpty else {
      return Diagnosis(id, .ok, "encrypted and authenticated to \(to)")
    }
    return Diagnosis(
      id, .warn, "to \(to): \(weak.joined(separator: "; "))",
      remedy: remedies.joined(separator: "\n"))
  }

  /// Before 1.25.0, libmongoc reads beyond a truncated reply; until 1.27.4 it aborts on one of another kind.
  private var libraryCheck: Diagnosis {
    let id = "mongodb.client_library"
    let name = "libmongoc \(access.library)"
    let numbers = access.library.split(separator: ".").prefix(3).map { part in
      Int(part.prefix { $0.isASCII && $0.isNumber }) ?? 0
    }
    guard numbers.lexicographicallyPrecedes([1, 27, 4]) else {
      return Diagnosis(id, .ok, access.library.isEmpty ? "unknown" : name)
    }
    let fault = "\(name) crashes on malformed replies (fixed in 1.27.4)"
    if access.usesTLS {
      return Diagnosis(id, .ok, "\(fault); with TLS, only the servers themselves can send them")
    }
    if (access.hosts + set.dataMembers).allSatisfy(Self.isLoopback) {
      return Diagnosis(id, .ok, "\(fault); only this machine can send them")
    }
    return Diagnosis(
      id, .warn,
      "\(fault), and without TLS whoever can alter the traffic can send them. A supervisor's restart "
        + "continues exactly where the bridge was",
      remedy: "# In source.uri (and net.tls.mode: requireTLS in mongod.conf):\n"
        + "tls=true&tlsCAFile=/path/to/ca.pem")
  }

  static func isLoopback(_ host: String) -> Bool {
    // A path is a Unix socket.
    host.hasPrefix("127.") || host.hasPrefix("localhost") || host.hasPrefix("[::1]")
      || host.hasPrefix("::1") || host.hasPrefix("/")
  }

  // MARK: Rights

  private func oplogReadCheck(_ demands: MongoDemands) -> Diagnosis {
    let id = "mongodb.oplog_read"
    switch oplog {
    case .known(let ends):
      return Diagnosis(id, .ok, "local.oplog.rs from \(ends.oldest) to \(ends.newest)")
    case .forbidden where !demands.readsOplog && !demands.takesSnapshots:
      return Diagnosis(
        id, .ok,
        "not allowed, and not needed: source.reader is change_stream (only tailrace snapshot needs it)"
      )
    case .forbidden where !demands.readsOplog:
      return Diagnosis(
        id, demands.startsWithSnapshot ? .fail : .warn,
        "\(who) may not read local.oplog.rs, which a snapshot needs",
        remedy: access.user == nil
          ? "// See the commands for mongodb.change_stream."
          : giveReading(DoctorRole.tail, as: "oplog", demands))
    case .forbidden:
      return Diagnosis(
        id, .fail, "\(who) may not read local.oplog.rs (readAnyDatabase does not include it)",
        remedy: giveReading(DoctorRole.tail, as: "oplog", demands))
    case .failed:
      return Diagnosis(
        id, .fail, "local.oplog.rs can't be read: \(oplog.obstacle)",
        remedy: "# Retry; if it still fails, see mongod's log at \(host).\ntailrace doctor")
    case .notAsked(let why):
      return Diagnosis(id, .warn, "can't be seen: \(why)")
    }
  }

  private func changeStreamCheck(
    _ answer: Answer<OplogPosition>, _ demands: MongoDemands
  ) -> Diagnosis {
    let id = "mongodb.change_stream"
    switch answer {
    case .known(let position):
      return Diagnosis(id, .ok, "can be read, and is at \(position)")
    case .forbidden:
      return Diagnosis(
        id, .fail, "\(who) may not read a change stream of all databases",
        remedy: giveReading(
          DoctorRole.changeStream
            + (access.user == nil && demands.takesSnapshots ? DoctorRole.tail : []),
          as: "change_stream", demands))
    case .failed(let error):
      return Diagnosis(
        id, .fail, "a change stream can't be opened: \(error)",
        remedy: "# Retry; if it still fails, see mongod's log at \(host).\ntailrace doctor")
    case .notAsked(let why):
      return Diagnosis(id, .warn, "can't be seen: \(why)")
    }
  }

  private var majorityCheck: Diagnosis {
    let id = "mongodb.read_concern"
    if case .failed(let error) = majorityRead,
      error.code == ServerCode.readConcernMajorityNotEnabled
    {
      return Diagnosis(
        id, readsMajority ? .fail : .warn,
        "the server runs with enableMajorityReadConcern: false, so what is read may be rolled back",
        remedy: "# Remove replication.enableMajorityReadConcern: false from mongod.conf (or the "
          + "option from the command line) of every member and restart them one by one.\n"
          + "# To continue without it, accepting events that a failover rolls back:\n"
          + "source: { read_concern: local }")
    }
    guard majorityRead.value != nil else {
      return Diagnosis(id, .warn, "can't be checked: \(majorityRead.obstacle)")
    }
    guard readsMajority else {
      return Diagnosis(
        id, .warn,
        "source.read_concern is local: changes that a failover rolls back are published too",
        remedy: "source: { read_concern: majority }")
    }
    return Diagnosis(id, .ok, "majority reads of the oplog work")
  }
}

extension Answer {
  var isForbidden: Bool {
    if case .forbidden = self { true } else { false }
  }
}

extension NoContact {
  package func diagnose(_ demands: MongoDemands) -> [Diagnosis] {
    let addresses = found.map(\.summary)
    let reachable = "mongodb.reachable"
    let set = "mongodb.replica_set"
    switch error.domain {
    case .configuration:
      return [
        Diagnosis(
          reachable, .fail, "source.uri: \(error.message)",
          remedy: "source: { uri: \"mongodb://host1:27017,host2:27017/?replicaSet=rs0\" }")
      ]
    case .authentication:
      return [
        Diagnosis(
          reachable, .fail, "the credentials in source.uri were rejected: \(error.message)",
          remedy: "# Check user and password (percent-encoded) and, at the end of source.uri, the "
            + "database in which the user was created:\nauthSource=admin")
      ]
    default: break
    }
    if found.contains(where: \.isRouter) {
      return [
        Diagnosis(
          set, .fail, "\(addresses.joined(separator: "; ")): a router has no oplog",
          remedy: "# Name the members of a shard's replica set, one bridge per shard, or:\n"
            + "source: { reader: change_stream }")
      ]
    }
    if let host = found.first(where: \.isStandalone)?.host {
      return [
        Diagnosis(
          set, .fail,
          "\(addresses.joined(separator: "; ")): a server outside of a replica set "
            + "keeps no oplog",
          remedy:
            "# Restart mongod with replication.replSetName (--replSet rs0), then in mongosh:\n"
            + Self.initiate(host))
      ]
    }
    if let host = found.first(where: \.isUninitiated)?.host {
      return [
        Diagnosis(
          set, .fail, addresses.joined(separator: "; "), remedy: Self.initiate(host))
      ]
    }
    let names = found.compactMap(\.setName)
    if let name = names.first {
      return [
        Diagnosis(
          set, .fail,
          "\(error.message). Probed directly: \(addresses.joined(separator: "; "))",
          remedy: "# If source.uri names another set, correct it: replicaSet=\(name)\n"
            + "# Otherwise no member matches its readPreference, or the members' own addresses "
            + "(rs.conf().members) can't be reached from this machine.")
      ]
    }
    // The message covers each address.
    return [
      Diagnosis(
        reachable, .fail, error.message,
        remedy: error.message.contains("certificate")
          ? "# In source.uri: tlsCAFile has the authority of the servers' certificates, "
            + "tlsCertificateKeyFile the bridge's own certificate with its key"
          : "# Is mongod running? Does it listen on that address (net.bindIp)? Does a firewall "
            + "block it? Does it require TLS (tls=true in source.uri)?")
    ]
  }

  private static func initiate(_ host: String) -> String {
    "rs.initiate({ _id: \"rs0\", members: [{ _id: 0, host: \(jsonText(host)) }] })"
  }
}

extension NoContact.ProbedServer {
  fileprivate var summary: String {
    switch kind {
    case .silent(let why): "\(host) doesn't answer: \(why)"
    case .router: "\(host) is a mongos"
    case .standalone: "\(host) is a standalone mongod"
    case .uninitiated: "\(host) needs rs.initiate()"
    case .member(let set): "\(host) belongs to the replica set \(set)"
    }
  }

  fileprivate var isRouter: Bool { if case .router = kind { true } else { false } }
  fileprivate var isStandalone: Bool { if case .standalone = kind { true } else { false } }
  fileprivate var isUninitiated: Bool { if case .uninitiated = kind { true } else { false } }
  fileprivate var setName: String? { if case .member(let set) = kind { set } else { nil } }
}

extension [Diagnosis] {
  /// Shows the commands that create a role only once, at the most severe check.
  fileprivate var sharingRemedies: [Diagnosis] {
    var found = self
    for (index, check) in found.enumerated() {
      guard let remedy = check.remedy, remedy.contains("createRole"),
        let first = found.indices.first(where: {
          found[$0].remedy == remedy && (found[$0].verdict == .fail || $0 < index)
        }), first != index, check.verdict != .fail
      else { continue }
      found[index].remedy = "// See the commands for \(found[first].id)."
    }
    return found
  }
}
