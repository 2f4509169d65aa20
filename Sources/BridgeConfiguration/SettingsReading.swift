import Mapping
import Oplog

extension SourceSettings {
  static func read(_ section: Section) -> SourceSettings? {
    var uri: MongoURI? = nil
    let fallback = "mongodb://127.0.0.1:27017/?replicaSet=rs0"
    let given = section.secret("uri")
    do throws(AddressError) {
      uri = try MongoURI(parsing: given?.value ?? fallback, file: given?.secret.file)
    } catch {
      section.problems.add(given?.scalar.position ?? section.position, error.message, error.remedy)
    }
    for doubt in uri?.doubts ?? [] {
      section.problems.warn(
        .mongoOption, given?.scalar.position ?? section.position, doubt.message, doubt.remedy)
    }
    let name = section.scalar("name")
    if let name { section.checkName(name, key: "name") }
    let reader: Reader = section.choice("reader", default: .oplog)
    let onPositionLost: OnPositionLost = section.choice("on_position_lost", default: .halt)
    let readConcern: ReadConcern = section.choice("read_concern", default: .majority)
    let start = readStart(section)
    section.finish()
    guard let uri else { return nil }
    return SourceSettings(
      uri: uri, name: name?.text, reader: reader, readConcern: readConcern, start: start,
      onPositionLost: onPositionLost)
  }

  private static func readStart(_ section: Section) -> Start {
    guard
      let scalar = section.scalar("start", "write now, oldest, snapshot or <seconds>.<increment>")
    else { return .now }
    switch scalar.text {
    case "now": return .now
    case "oldest": return .oldest
    case "snapshot": return .snapshot
    default:
      if let position = OplogPosition(scalar.text) { return .position(position) }
      section.report(
        scalar, key: "start",
        words: ["now", "oldest", "snapshot", "\"<seconds>.<increment>\""], unavailable: [])
      return .now
    }
  }
}

extension NATSSettings {
  static func read(_ section: Section) -> NATSSettings? {
    var servers: [NATSServer] = []
    let given = section.scalars("servers", splitting: true)
    for scalar in given ?? [] {
      do throws(AddressError) {
        servers.append(try NATSServer(parsing: scalar.text))
      } catch {
        section.problems.add(scalar.position, error.message, error.remedy)
      }
    }
    if given == nil, let local = try? NATSServer(parsing: "nats://127.0.0.1:4222") {
      servers = [local]
    } else if let given, given.isEmpty {
      section.problems.add(
        section.position(of: "servers"), "nats.servers is empty", "write [nats://host:4222]")
    }
    let name = section.string("name") ?? "tailrace"
    let inboxPrefix = readInboxPrefix(section)
    let authentication = readAuthentication(section, servers: servers)
    let tls = readTLS(section.section("tls"), servers: servers)
    let ignoresDiscovered = section.bool("ignore_discovered_servers", default: false)
    section.finish()
    guard !servers.isEmpty else { return nil }
    return NATSSettings(
      servers: servers, name: name, inboxPrefix: inboxPrefix, authentication: authentication,
      tls: tls, ignoresDiscoveredServers: ignoresDiscovered)
  }

  private static func readInboxPrefix(_ section: Section) -> String {
    guard let given = section.scalar("inbox_prefix") else { return "_INBOX" }
    let tokens = given.text.split(separator: ".", omittingEmptySubsequences: false)
    let isSubject = tokens.allSatisfy { token in
      !token.isEmpty
        && token.unicodeScalars.allSatisfy { $0.value > 0x20 && $0 != "*" && $0 != ">" }
    }
    if !isSubject || given.text.hasPrefix("$") || given.text.utf8.count > 64 {
      section.problems.add(
        given.position, "nats.inbox_prefix can't be \"\(given.text)\"",
        "use a subject without wildcards, of at most 64 bytes, such as _INBOX_tailrace")
    }
    return given.text
  }

  private static func readAuthentication(
    _ section: Section, servers: [NATSServer]
  ) -> Authentication {
    var found: [(key: String, value: Authentication)] = []
    if let file = section.readableFile("credentials_file", hidden: true) {
      found.append(("credentials_file", .credentials(file: file)))
    }
    if let file = section.readableFile("nkey_seed_file", hidden: true) {
      found.append(("nkey_seed_file", .nkeySeed(file: file)))
    }
    if let token = section.secret("token") {
      found.append(("token", .token(token.secret)))
    }
    let user = section.scalar("user")
    let password = section.secret("password")
    switch (user, password) {
    case (let user?, let password?):
      found.append(("user", .user(user.text, password: password.secret)))
    case (let user?, nil):
      section.problems.add(
        user.position, "nats.user has no password", "add password or password_file")
    case (nil, let password?):
      section.problems.add(password.scalar.position, "nats.password has no user", "add user")
    case (nil, nil): break
    }
    if found.count > 1 {
      section.problems.add(
        section.position(of: found[1].key),
        "nats has more than one way to authenticate: \(found.map(\.key).joined(separator: ", "))",
        "keep one of them")
    }
    if let first = found.first { return first.value }
    for server in servers {
      if let token = server.token { return .token(token) }
      if let user = server.user, let password = server.password {
        return .user(user, password: password)
      }
    }
    return .none
  }

  private static func readTLS(_ section: Section, servers: [NATSServer]) -> TLS {
    let tls = TLS(
      caFile: section.readableFile("ca_file"),
      certificateFile: section.readableFile("cert_file"),
      keyFile: section.readableFile("key_file", hidden: true),
      handshakeFirst: section.bool("handshake_first", default: false), isRequired: false)
    for (have, lack) in [("cert_file", "key_file"), ("key_file", "cert_file")]
    where section.node(have) != nil && section.node(lack) == nil {
      section.problems.add(
        section.position(of: have), "nats.tls has \(have) without \(lack)", "add \(lack)")
    }
    section.finish()
    var result = tls
    result.isRequired =
      tls.caFile != nil || tls.certificateFile != nil || tls.handshakeFirst
      || servers.contains(where: \.requiresTLS)
    return result
  }
}

extension BridgeSettings {
  static func read(_ section: Section) -> BridgeSettings {
    let name = section.scalar("name")
    if let name { section.checkName(name, key: "name", dots: false) }
    let bucket = section.scalar("state_bucket")
    if let bucket { section.checkName(bucket, key: "state_bucket", dots: false) }
    let interval = section.duration(
      "checkpoint_interval", default: .seconds(1), in: .milliseconds(10)...(.seconds(3600)))
    let lease = section.duration("lease", default: .seconds(5), in: .seconds(1)...(.seconds(60)))
    section.finish()
    return BridgeSettings(
      name: name?.text ?? "tailrace", stateBucket: bucket?.text ?? "TAILRACE",
      checkpointInterval: interval, lease: lease)
  }
}

extension CutoverSettings {
  static func read(_ section: Section) -> CutoverSettings {
    let grace = section.duration(
      "grace", default: standard.grace, in: .milliseconds(100)...(.seconds(3600)))
    let window = section.duration(
      "window", default: standard.window, in: .seconds(1)...(.seconds(604_800)))
    section.finish()
    return CutoverSettings(grace: grace, window: window)
  }
}

extension DeadLetterSettings {
  static func read(
    _ section: Section, streams: [StreamSpec], rules: [Rule]
  ) -> DeadLetterSettings? {
    let stream = section.scalar("stream")
    if let stream { StreamSpec.checkStreamName(stream, section: section, key: "stream") }
    let name = stream?.text ?? "TAILRACE_DLQ"
    let given = section.scalar("subject")
    let subject: DeadLetterSubject
    do throws(RuleSyntaxError) {
      subject = try DeadLetterSubject(parsing: given?.text ?? "dlq.{rule}")
    } catch {
      if let given { section.problems.add(error, in: given) }
      section.finish()
      return nil
    }
    let place = given?.position ?? section.position
    let shape = SubjectShape(pattern: subject.pattern)
    for rule in rules where rule.route == .core {
      guard
        let signals = SubjectShape.patterns(of: rule).first(where: {
          subjectsOverlap($0, subject.pattern)
        })
      else { continue }
      section.problems.add(
        place,
        "the dead letters' stream would store the signals of rule \(rule.name) at \(signals)",
        "choose a subject of its own for dead letters, such as dlq.{rule}")
    }
    for spec in streams {
      if spec.name == name {
        if !spec.subjects.contains(where: { shape.isCovered(by: $0) }) {
          section.problems.add(
            place,
            "stream \(name) takes \(list(spec.subjects)), which does not cover the dead letters' "
              + "subject \(subject.text)", "add \(subject.pattern) to its subjects")
        }
      } else if let taken = spec.subjects.first(where: { subjectsOverlap($0, subject.pattern) }) {
        section.problems.add(
          place,
          "dead letters at \(subject.text) would go to stream \(spec.name), which takes \(taken)",
          "choose a subject of its own for dead letters, such as dlq.{rule}")
      }
    }
    section.finish()
    return DeadLetterSettings(stream: name, subject: subject)
  }
}

extension HTTPSettings {
  static func read(_ section: Section) -> HTTPSettings? {
    let given = section.scalar("listen", "write host:port, such as 127.0.0.1:8080")
    let token = section.secret("token")
    section.finish()
    do throws(AddressError) {
      return HTTPSettings(
        listen: try ListenAddress(parsing: given?.text ?? "127.0.0.1:8080"),
        token: token?.secret)
    } catch {
      section.problems.add(given?.position ?? section.position, error.message, error.remedy)
      return nil
    }
  }
}

extension LogSettings {
  static func read(_ section: Section) -> LogSettings {
    let settings = LogSettings(
      level: section.choice("level", default: .info),
      format: section.choice("format", default: .json))
    section.finish()
    return settings
  }
}

extension Section {
  /// Names become part of ids, headers, subjects and KV keys: letters, digits, `-`, `_` and, where it
  /// may, dots inside.
  @discardableResult
  func checkName(_ scalar: ConfigScalar, key: String, dots: Bool = true) -> Bool {
    let text = scalar.text
    let fits = text.unicodeScalars.allSatisfy { c in
      c.isASCII && (c.properties.isAlphabetic || ("0"..."9").contains(c))
        || c == "-" || c == "_" || (dots && c == ".")
    }
    guard fits, !text.isEmpty, text.utf8.count <= 64, !text.hasPrefix("."), !text.hasSuffix("."),
      !text.contains("..")
    else {
      problems.add(
        scalar.position, "\(path(key)) can't be \"\(text)\"",
        "use letters, digits, - and _\(dots ? ", with dots inside" : ""), at most 64")
      return false
    }
    return true
  }
}
