// If no member can be selected, each address is probed by itself, for a more helpful diagnosis.

extension DoctorExaminer {
  private static let mostAddresses = 7

  static func probeServers(
    _ options: MongoSourceOptions, _ demands: MongoDemands
  ) -> [NoContact.ProbedServer] {
    guard let uri = try? MongoURI(options, replyTimeout: .seconds(2)) else { return [] }
    let deadline = ContinuousClock.now + demands.timeLimit
    var found: [NoContact.ProbedServer] = []
    guard let present = try? options.presentURI?() ?? options.uri else { return [] }
    for host in uri.hosts.prefix(mostAddresses) where ContinuousClock.now < deadline {
      guard let text = direct(present, to: host) else { continue }
      var own = options
      own.uri = text
      own.presentURI = nil
      found.append(NoContact.ProbedServer(host: host, kind: probe(own)))
    }
    return found
  }

  private static func probe(_ options: MongoSourceOptions) -> NoContact.ProbedServer.Kind {
    do {
      let connection = try MongoConnection(options, replyTimeout: .seconds(2))
      let hello = try connection.selectServer().hello
      if hello.isRouter { return .router }
      if hello.awaitsInitiation { return .uninitiated }
      return hello.setName.map { .member(set: $0) } ?? .standalone
    } catch {
      return .silent(error.message)
    }
  }

  /// The connection string with only that address, and without the options that need a replica set.
  static func direct(_ uri: String, to host: String) -> String? {
    let scheme = "mongodb://"
    guard uri.hasPrefix(scheme) else { return nil }
    let rest = uri.dropFirst(scheme.count)
    let end = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
    let authority = rest[..<end]
    let user = authority.lastIndex(of: "@").map { authority[...$0] } ?? ""
    let parts = rest[end...].split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let dropped = ["replicaset=", "directconnection=", "readpreference", "loadbalanced="]
    let kept = (parts.count > 1 ? parts[1] : "").split(separator: "&").filter { option in
      !dropped.contains { option.lowercased().hasPrefix($0) }
    }
    let path = parts.first.map { $0.isEmpty ? "/" : String($0) } ?? "/"
    return scheme + user + host + path + "?"
      + (kept.map(String.init) + ["directConnection=true"]).joined(separator: "&")
  }
}
