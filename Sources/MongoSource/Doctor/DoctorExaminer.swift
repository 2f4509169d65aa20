internal import BSON
internal import CMongoC
internal import Oplog

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Collects the facts with short commands, one at a time. Confined to one thread, like its connection.
final class DoctorExaminer {
  let demands: MongoDemands
  private let options: MongoSourceOptions
  private let uri: MongoURI
  private let deadline: ContinuousClock.Instant
  private var connection: MongoConnection
  private var server: MongoConnection.Server
  private var version: Answer<String>
  /// Why the connection is gone.
  private var lost: MongoError?

  private static let replyTimeout = Duration.seconds(5)
  /// `maxTimeMS` of each command.
  static let maxTime = 2000

  /// Throws if there is no replica set member, or it rejects the credentials.
  init(_ options: MongoSourceOptions, _ demands: MongoDemands) throws(MongoError) {
    self.options = options
    self.demands = demands
    uri = try MongoURI(options, replyTimeout: Self.replyTimeout)
    deadline = .now + demands.timeLimit
    connection = try MongoConnection(options, replyTimeout: Self.replyTimeout)
    server = try connection.selectServer()
    guard server.hello.setName != nil else {
      throw MongoError(
        domain: .selection, message: server.unsupported ?? "\(server.host) is not initiated yet",
        place: "hello", isTransient: server.hello.awaitsInitiation)
    }
    do {
      version = .known(try connection.version(server))
    } catch {
      guard error.domain == .server else { throw error }
      version = error.code == ServerCode.unauthorized ? .forbidden : .failed(error)
    }
  }

  /// Authenticated, so lists may be limited by the user's privileges.
  var isConfined: Bool { uri.user != nil }

  /// Nil if the version is not known.
  var capabilities: ServerCapabilities? { version.value.map { ServerCapabilities(version: $0) } }

  func facts() -> DoctorFacts {
    var facts = DoctorFacts()
    facts.host = server.host
    facts.access.usesTLS = uri.usesTLS
    facts.access.library = MongoLibrary.version
    facts.access.user = uri.user
    facts.access.hosts = uri.hosts
    facts.readsMajority = options.readConcernMajority
    facts.version = version
    facts.set = setView()
    facts.feature = feature()
    facts.oplog = oplogEnds()
    facts.majorityRead = majorityRead()
    if !demands.readsOplog { facts.changeStream = changeStream() }
    facts.oplogSize = oplogSize()
    facts.retention = retention()
    if let checkpoint = demands.checkpoint { facts.checkpointEntry = entry(at: checkpoint) }
    facts.states = states()
    facts.configuration = configuration()
    facts.members = members()
    facts.collections = collections()
    if let roles = roles() { facts.access.roles = roles }
    facts.reads = reads(facts.collections) + preImageReads()
    if demands.maxPayload != nil { facts.largest = largest() }
    return facts
  }

  // MARK: Questions

  /// Runs a command in Extended JSON. `read` returns nil for a malformed reply.
  func ask<T>(
    _ json: String, in database: String = "admin", _ read: (BSONView) -> T?
  ) -> Answer<T> {
    answer { connection, server throws(MongoError) in
      var error = bson_error_t()
      // `jsonText` has escaped the names in it.
      guard let command = bson_new_from_json(json, -1, &error) else {
        throw MongoError(
          domain: .client, message: "invalid command: \(json)", place: "doctor",
          isTransient: false)
      }
      let place = json.split(separator: "\"").dropFirst().first.map(String.init) ?? "command"
      let reply = try connection.run(command, database: database, on: server, place: place)
      defer { withExtendedLifetime(reply) {} }
      guard let view = try? BSONView(reply.bytes), let value = read(view) else {
        throw MongoError(
          domain: .reply, message: "malformed reply", place: place,
          isTransient: true)
      }
      return value
    }
  }

  /// Asks unless the time is up or the connection is lost.
  private func answer<T>(
    _ question: (MongoConnection, MongoConnection.Server) throws(MongoError) -> T
  ) -> Answer<T> {
    if let lost { return .failed(lost) }
    guard ContinuousClock.now < deadline else {
      let limit = durationText(Int(demands.timeLimit.components.seconds))
      return .notAsked("not checked: the time limit of \(limit) was reached")
    }
    do {
      return .known(try question(connection, server))
    } catch {
      if error.domain == .server {
        return error.code == ServerCode.unauthorized ? .forbidden : .failed(error)
      }
      if error.domain != .client { reconnect() }
      return .failed(error)
    }
  }

  /// A connection is discarded after an error; see `MongoConnection`.
  private func reconnect() {
    do {
      connection = try MongoConnection(options, replyTimeout: Self.replyTimeout)
      server = try connection.selectServer()
    } catch {
      lost = error
    }
  }

  // MARK: Answers

  private func setView() -> DoctorFacts.SetView {
    var view = DoctorFacts.SetView()
    view.name = server.hello.setName ?? ""
    view.lastWrite = server.hello.lastWrite
    view.majority = server.hello.majority
    let lists = ask(#"{"hello":1}"#) { reply in
      (
        (reply.texts("hosts") + reply.texts("passives")), reply.texts("arbiters"),
        try? Hello(reply)
      )
    }
    if let (data, arbiters, hello) = lists.value {
      view.dataMembers = data
      view.arbiters = arbiters
      view.lastWrite = hello?.lastWrite ?? view.lastWrite
      view.majority = hello?.majority ?? view.majority
    }
    return view
  }

  private func feature() -> Answer<DoctorFacts.Feature> {
    ask(
      #"{"find":"system.version","filter":{"_id":{"$in":["featureCompatibilityVersion","#
        + #""shardIdentity"]}},"singleBatch":true,"maxTimeMS":\#(Self.maxTime)}"#
    ) { reply in
      var feature = DoctorFacts.Feature(version: "")
      reply.eachOfBatch { document in
        switch document.text("_id") {
        case "featureCompatibilityVersion":
          feature.version = document.text("version") ?? ""
          feature.target = document.text("targetVersion")
        case "shardIdentity":
          feature.shard = document.text("shardName") ?? "?"
        default: break
        }
      }
      return feature.version.isEmpty ? nil : feature
    }
  }

  private func oplogEnds() -> Answer<DoctorFacts.OplogEnds> {
    let oldest = answer { connection, server throws(MongoError) in
      guard let oldest = try connection.oldestEntry(on: server) else {
        throw MongoError(
          domain: .client, message: "the oplog of \(server.host) is empty", place: "find",
          isTransient: true)
      }
      return oldest.point
    }
    switch oldest {
    case .known(let oldest):
      return ask(
        #"{"find":"oplog.rs","sort":{"$natural":-1},"limit":1,"singleBatch":true,"#
          + #""projection":{"ts":1,"t":1},"maxTimeMS":\#(Self.maxTime)}"#, in: "local"
      ) { reply in
        var newest: ResumePoint?
        reply.eachOfBatch { newest = (try? ResumePoint($0)) ?? nil }
        return newest.map { DoctorFacts.OplogEnds(oldest: oldest, newest: $0) }
      }
    case .forbidden: return .forbidden
    case .failed(let error): return .failed(error)
    case .notAsked(let why): return .notAsked(why)
    }
  }

  private func majorityRead() -> Answer<Bool> {
    ask(
      #"{"find":"oplog.rs","limit":1,"singleBatch":true,"projection":{"ts":1},"#
        + #""readConcern":{"level":"majority"},"maxTimeMS":\#(Self.maxTime)}"#, in: "local"
    ) { _ in true }
  }

  private func changeStream() -> Answer<OplogPosition> {
    answer { _, server throws(MongoError) in
      // A session of its own.
      let connection = try MongoConnection(options, replyTimeout: Self.replyTimeout)
      return try connection.changeStreamPosition(on: connection.server(at: server.host))
    }
  }

  private func oplogSize() -> Answer<DoctorFacts.OplogSize> {
    ask(#"{"collStats":"oplog.rs","maxTimeMS":\#(Self.maxTime)}"#, in: "local") { reply in
      guard let bytes = reply.number("size"), let maximum = reply.number("maxSize") else {
        return nil
      }
      return DoctorFacts.OplogSize(bytes: bytes, maximum: maximum)
    }
  }

  private func retention() -> Answer<Double> {
    // Excludes the expensive sections; a server ignores the names that it doesn't know.
    let sections = [
      "metrics", "wiredTiger", "locks", "tcmalloc", "transactions", "logicalSessionRecordCache",
    ].map { "\"\($0)\":0" }.joined(separator: ",")
    return ask(#"{"serverStatus":1,\#(sections),"maxTimeMS":\#(Self.maxTime)}"#) { reply in
      reply.inner("oplogTruncation")?.number("oplogMinRetentionHours") ?? 0
    }
  }

  private func entry(at checkpoint: ResumePoint) -> Answer<ResumePoint?> {
    answer { connection, server throws(MongoError) in
      try connection.firstEntry(
        from: checkpoint.position, majority: options.readConcernMajority, on: server)?.point
    }
  }

  private func states() -> Answer<[DoctorFacts.MemberState]> {
    ask(#"{"replSetGetStatus":1,"maxTimeMS":\#(Self.maxTime)}"#) { reply in
      var states: [DoctorFacts.MemberState] = []
      reply.inner("members")?.each { member in
        let optime = (try? member.inner("optime").flatMap { try ResumePoint($0) }) ?? nil
        states.append(
          DoctorFacts.MemberState(
            host: member.text("name") ?? "?", state: member.text("stateStr") ?? "?",
            healthy: member.number("health") == 1, optime: optime?.position.seconds ?? 0,
            message: member.text("lastHeartbeatMessage") ?? ""))
      }
      return states.isEmpty ? nil : states
    }
  }

  private func configuration() -> Answer<[DoctorFacts.Voter]> {
    ask(
      #"{"find":"system.replset","limit":1,"singleBatch":true,"maxTimeMS":\#(Self.maxTime)}"#,
      in: "local"
    ) { reply in
      var voters: [DoctorFacts.Voter] = []
      reply.eachOfBatch { document in
        document.inner("members")?.each { member in
          voters.append(
            DoctorFacts.Voter(
              host: member.text("host") ?? "?", votes: Int(member.number("votes") ?? 1),
              isArbiter: member.flag("arbiterOnly") ?? false,
              isHidden: member.flag("hidden") ?? false,
              // Called slaveDelay up to 4.4.
              delaySeconds: Int(
                member.number("secondaryDelaySecs") ?? member.number("slaveDelay") ?? 0)))
        }
      }
      return voters.isEmpty ? nil : voters
    }
  }

  // MARK: Members

  private func members() -> [DoctorFacts.MemberView] {
    guard
      let hosts = answer({ connection, _ throws(MongoError) in try connection.members() })
        .value?.map(\.host)
    else { return [] }
    return hosts.map { host in
      var view = DoctorFacts.MemberView(host: host)
      let before = Self.now
      if let (time, lastWrite) = ask(
        of: host,
        { connection, member throws(MongoError) in
          let reply = try connection.run(
            tailrace_command_hello(), database: "admin", on: member, place: "hello")
          defer { withExtendedLifetime(reply) {} }
          let document = try? BSONView(reply.bytes)
          return (
            document?.date("localTime"), document.flatMap { try? Hello($0) }?.lastWrite
          )
        }
      ).value {
        // The server read its clock between the two.
        let after = Self.now
        view.lastWrite = lastWrite
        view.skew = time.map { $0 - (before + after) / 2 }
        view.uncertainty = (after - before) / 2 + 1
      }
      view.oldest =
        ask(
          of: host,
          { connection, member throws(MongoError) in
            try connection.oldestEntry(on: member)?.point
          }
        ).value ?? nil
      return view
    }
  }

  /// Looks the member up: its id may differ in a new connection.
  private func ask<T>(
    of host: String,
    _ question: (MongoConnection, MongoConnection.Server) throws(MongoError) -> T
  ) -> Answer<T> {
    answer { connection, _ throws(MongoError) in
      guard let member = try connection.members().first(where: { $0.host == host }) else {
        throw MongoError(
          domain: .client, message: "\(host) is no longer reachable", place: "hello",
          isTransient: true)
      }
      return try question(connection, member)
    }
  }

  /// Milliseconds since 1970 by this machine's clock.
  private static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }
}
