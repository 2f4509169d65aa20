import BridgeConfiguration
import Testing

#if canImport(Darwin)
  import Darwin
#elseif canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A folder that is gone when the value is.
private final class TemporaryFolder {
  let path: String

  init() throws {
    var template = Array("/tmp/tailrace-configuration-XXXXXX\0".utf8CString.dropLast())
    guard mkdtemp(&template) != nil else { throw Failure() }
    path = template.withUnsafeBufferPointer { bytes in
      bytes.baseAddress.map { String(cString: $0) } ?? ""
    }
  }

  struct Failure: Error {}

  func write(_ text: String, to name: String) throws {
    guard let file = fopen("\(path)/\(name)", "w") else { throw Failure() }
    fputs(text, file)
    fclose(file)
    names.append(name)
  }

  private var names: [String] = []

  deinit {
    for name in names { unlink("\(path)/\(name)") }
    rmdir(path)
  }
}

@Suite("Secrets and the environment")
struct SecretTests {
  /// Everything Swift can make a text of.
  func shown(_ value: Any) -> String {
    var text = "\(value) \(String(reflecting: value))"
    dump(value, to: &text)
    return text
  }

  @Test("never printed, wherever they are") func neverPrinted() throws {
    let c = try configuration(
      """
      source:
        uri: "mongodb://user:hunter2@h1,h2/db?replicaSet=rs0&authMechanismProperties=TOKEN:hunter2&tlsCertificateKeyFilePassword=hunter2"
      nats: { servers: ["nats://bob:hunter2@h:1", "nats://hunter2@h:2"], user: u, password: hunter2 }
      http: { token: hunter2 }
      streams: [{ name: S, subjects: [s.x] }]
      rules: [{ name: r, match: { namespace: a.b }, subject: s.x }]
      """)
    #expect(!shown(c).contains("hunter2"))
    #expect(!shown(c.source).contains("hunter2"))
    #expect(!shown(c.nats).contains("hunter2"))
    #expect(!shown(c.nats.servers).contains("hunter2"))
    #expect(!shown(c.nats.authentication).contains("hunter2"))
    #expect(!shown(c.http).contains("hunter2"))
    #expect(
      c.source.uri.description
        == "mongodb://user:***@h1,h2/db?replicaSet=rs0&authMechanismProperties=***"
        + "&tlsCertificateKeyFilePassword=***")
    #expect(c.source.uri.reveal().contains("user:hunter2@"))
    #expect(c.source.uri.hosts == ["h1", "h2"])
    #expect(c.source.uri.replicaSet == "rs0")
    #expect(c.nats.authentication == .user("u", password: Secret("hunter2")))
    #expect(c.http.token?.reveal() == "hunter2")
  }

  @Test("files are read again where they are used, byte order mark and line end left out")
  func readAgain() throws {
    let folder = try TemporaryFolder()
    try folder.write("\u{FEFF}first\r\n", to: "password")
    try folder.write("\u{FEFF}mongodb://u:one@h/?replicaSet=rs0\n", to: "uri")
    try folder.write("tick", to: "token")
    let c = try configuration(
      """
      source: { uri_file: uri }
      nats: { user: u, password_file: password }
      http: { token_file: token }
      streams: [{ name: S, subjects: [s.x] }]
      rules: [{ name: r, match: { namespace: a.b }, subject: s.x }]
      """, file: "\(folder.path)/c.yaml")
    guard case .user(_, let password) = c.nats.authentication, let token = c.http.token else {
      Issue.record("no password or token")
      return
    }
    #expect(password == Secret("first"))
    #expect(try password.current() == "first")
    #expect(c.source.uri.reveal() == "mongodb://u:one@h/?replicaSet=rs0")
    try folder.write("second\n", to: "password")
    try folder.write("mongodb://u:two@h/?replicaSet=rs0", to: "uri")
    try folder.write("tock", to: "token")
    #expect(try password.current() == "second" && password.reveal() == "first")
    #expect(try c.source.uri.current() == "mongodb://u:two@h/?replicaSet=rs0")
    #expect(try token.current() == "tock")
    for broken in ["", "\u{FEFF}", " \n"] {
      try folder.write(broken, to: "password")
      let error = #expect(throws: SecretFileError.self) { try password.current() }
      #expect(error?.description.contains("is empty") == true)
    }
    unlink("\(folder.path)/password")
    let missing = #expect(throws: SecretFileError.self) { try password.current() }
    #expect(missing?.description.contains("\(folder.path)/password") == true)
    #expect(try Secret("plain").current() == "plain")
  }

  @Test(
    "nor in problems",
    arguments: [
      "source: { uri: \"mongodb://user:hunter2@\" }",
      "source: { uri: \"mongodb://user:hunter2/x@h\" }",
      "source: { uri: \"mongodb://user:hunter2?x@h\" }",
      "source: { uri: \"mongodb://user:hunter2@h:port\" }",
      "source: { uri: \"mongodb://h/?password:hunter2\" }",
      "source: { uri: \"hunter2\" }",
      "nats: { servers: [\"nats://u:hunter2@\"] }",
      "nats: { servers: [\"nats://u:hunter2\"] }",
      "nats: { servers: [\"nats://u:hunter2%@h\"] }",
      "nats: { token: hunter2, user: u, password: hunter2 }",
      "nats: { password: hunter2 }",
      "http: { listen: x, token: hunter2 }",
    ])
  func notInProblems(_ yaml: String) {
    let list = problemList(base + yaml)
    #expect(!list.isEmpty)
    #expect(!"\(list)".contains("hunter2"))
  }

  @Test(
    "nor where a space or quotes were forgotten",
    arguments: [
      "nats: { user: u, password:hunter2 }", "nats: { user: u, password:  hun,hunter2 }",
      "nats: { user: u, password: hun,hunter2, x: y }", "nats: { user: u, password: a,hunter2:b }",
      "nats: { user: u, password: a,hunter2 b }", "nats: { token=hunter2 }",
      "nats: { token hunter2 }",
      "nats: { token-hunter2 }", "nats: { token_hunter2 }", "nats: { TOKEN:hunter2 }",
      "nats: { token: a,hunter2,hunter2 }", "nats: { token:hunter2, token:hunter2 }",
      "nats: { \"token\":hunter2, \"token:hunter2\": 1 }", "nats: { servers:nats://u:hunter2@h }",
      "nats: { tls: { key_file:hunter2 } }", "source: { uri:mongodb://u:hunter2@h/ }",
      "source: { uri: mongodb://u:a,hunter2@h/ }", "source: { mongodb://u:hunter2@h/ }",
      "source: { mongodb://u:hunter2@h/: 1 }", "redaction: { key:hunter2hunter2hunter2 }",
      "http: { token:hunter2 }", "token:hunter2: 1", "\"uri:mongodb://u:hunter2@h\":",
      "nats: { token: \"a${hunter2}b\" }", "nats: { token: \"a${hunter2 x}b\" }",
      "nats: { token: \"${1hunter2}\" }", "source: { uri: \"mongodb://h/?tls=hunter2\" }",
      "source: { uri: \"mongodb://h/?RetryWrites=hunter2\" }",
    ])
  func slips(_ yaml: String) {
    let list = problemList(base + yaml)
    #expect(!list.isEmpty)
    #expect(!"\(list)".contains("hunter2"), "\(list)")
  }

  @Test(
    "what is forgotten is said, and what is no secret is named",
    arguments: [
      ("nats: { user: u, password:x }", "unknown key password… in nats. A space is missing"),
      ("source: { uri:mongodb://u:p@h/ }", "unknown key uri… in source. A space is missing"),
      ("nats: { token_fil: x }", "unknown key token_fil in nats. Did you mean token_file?"),
      ("nats: { passwrod: x }", "unknown key passwrod in nats. Did you mean password?"),
      ("nats: { passwrod: }", "unknown key passwrod in nats. Did you mean password?"),
      ("nats: { colour: x }", "unknown key colour in nats. Known here: "),
      ("nats: { colour }", "an unknown key in nats, which may be part of a secret"),
      ("bridge: { colour: }", "unknown key colour in bridge. Known here: "),
      ("nats: { token: \"a${NOPE}b\" }", "the environment variable NOPE is not set"),
      ("source: { uri: \"mongodb://u:pa${SS@h/\" }", "a ${ without its }"),
      ("nats: { token: \"${nope}\" }", "the environment variable nope is not set"),
      (
        "source: { uri: \"mongodb://h/?tls=on\" }", "the URI's option tls is neither true nor false"
      ),
    ])
  func slipsExplained(_ yaml: String, _ expected: String) {
    let list = problemList(base + yaml)
    #expect(list.contains { $0.description.contains(expected) }, "\(list)")
    #expect(!"\(list)".contains("u:pa"), "\(list)")
  }

  @Test("credentials in a server's address are used where no other are given") func serverAddress()
    throws
  {
    #expect(
      try configuration(base + "nats: { servers: [\"nats://bob:p%40ss@h\"] }").nats.authentication
        == .user("bob", password: Secret("p@ss")))
    #expect(
      try configuration(base + "nats: { servers: [\"nats://t@h\"] }").nats.authentication
        == .token(Secret("t")))
  }

  @Test("from files beside the configuration, trimmed") func files() throws {
    let folder = try TemporaryFolder()
    try folder.write("mongodb://u:p@h/?replicaSet=r\n", to: "uri")
    try folder.write("  s3cret \n\n", to: "token")
    try folder.write(" \n", to: "empty")
    let file = "\(folder.path)/t.yaml"
    let c = try configuration(
      base + """
        source: { uri_file: uri }
        nats: { token_file: token, credentials_file: "${NONE:-}" }
        http: { token_file: "\(folder.path)/token" }
        """, file: file)
    #expect(c.source.uri.reveal() == "mongodb://u:p@h/?replicaSet=r")
    #expect(c.nats.authentication == .token(Secret("s3cret")))
    #expect(c.http.token == Secret("s3cret"))

    let creds = try configuration(base + "nats: { credentials_file: token }", file: file)
    #expect(creds.nats.authentication == .credentials(file: "\(folder.path)/token"))
    let seed = try configuration(base + "nats: { nkey_seed_file: token }", file: file)
    #expect(seed.nats.authentication == .nkeySeed(file: "\(folder.path)/token"))
    let tls = try configuration(
      base + "nats: { tls: { ca_file: token, cert_file: token, key_file: token } }", file: file)
    #expect(tls.nats.tls.caFile == "\(folder.path)/token")
    #expect(tls.nats.tls.isRequired)

    #expect(
      problems(base + "http: { token_file: empty }", file: file) == [
        "12:21: the file of http.token_file is empty: empty"
      ])
    #expect(
      problems(base + "http: { token_file: missing }", file: file) == [
        "12:21: the file of http.token_file can't be read: No such file or directory"
      ])
    #expect(
      problems(base + "http: { token_file: . }", file: file) == [
        "12:21: the file of http.token_file can't be read: \(folder.path)/.: Is a directory"
      ])
    try folder.write("http://x", to: "uri")
    #expect(
      problems(base + "source: { uri_file: uri }", file: file) == [
        "12:21: a MongoDB URI starts with mongodb:// or mongodb+srv://"
      ])
    try folder.write(base, to: "t.yaml")
    #expect(try BridgeConfiguration.load(path: file, environment: [:]).file == file)
  }

  @Test(
    "variables",
    arguments: [
      ("${NAME}", "value"), ("a-${NAME}-b", "a-value-b"), ("${NAME}${NAME}", "valuevalue"),
      ("${UNSET:-default}", "default"), ("${EMPTY:-default}", "default"), ("x${EMPTY}y", "xy"),
      ("${NAME:-default}", "value"), ("x${UNSET:-}y", "xy"), ("$NAME", "$NAME"),
    ])
  func variables(_ text: String, _ expected: String) throws {
    let c = try configuration(
      base + "nats: { name: \"\(text)\" }", environment: ["NAME": "value", "EMPTY": ""])
    #expect(c.nats.name == expected)
  }

  /// An address that was cut before its @, or whose password holds what has a meaning there.
  @Test(
    "never in the problems of an address",
    arguments: [
      "source: {uri: 'mongodb://u:hunter2'}", "source: {uri: 'mongodb://u:hunter2,h:1/'}",
      "source: {uri: 'mongodb://u:%24hunter2'}", "source: {uri: 'mongodb+srv://u:hunter2:27017/'}",
      "source: {uri: 'mongodb://u:hunter2/x@h'}", "source: {uri: 'mongodb://u:1?hunter2=x@h'}",
      "source: {uri: 'mongodb://hunter2:x@y:z@h'}", "source: {uri: 'hunter2://h'}",
      "source: {uri: 'u:hunter2@h'}", "nats: {servers: ['u:hunter2://h']}",
      "nats: {servers: ['u:hunter2@h:x']}", "nats: {servers: ['nats://u:hunter2:1:2']}",
      "nats: {servers: ['nats://u:hunter2']}", "nats: {servers: ['tls://hunter2:x']}",
    ])
  func neverInProblems(_ wrong: String) {
    let rest = base.split(separator: "\n").filter { !$0.hasPrefix(wrong.prefix { $0 != ":" }) }
    let found = problems(rest.joined(separator: "\n") + "\n" + wrong)
    #expect(!found.isEmpty)
    #expect(!found.joined().contains("hunter2"), "\(found)")
  }

  @Test("$${ is a literal ${; values are never read as YAML; an empty one counts as absent")
  func variableEdges() throws {
    #expect(try configuration(base + "nats: { name: \"$${A}\" }").nats.name == "${A}")
    let hostile = ["A": "x, token: y }\nlog: {level: debug}"]
    let c = try configuration(base + "nats: { name: \"${A}\" }", environment: hostile)
    #expect(c.nats.name == hostile["A"])
    #expect(c.log.level == .info)
    let d = try configuration(
      base + "http:\n  token: ${T:-}\n  listen: \"${L}\"", environment: ["L": ""])
    #expect(d.http.token == nil)
    #expect(d.http.listen.port == 8080)
    // Not in keys.
    #expect(
      problems(base + "${A}: 1", environment: ["A": "log"]) == [
        "12:1: an unknown key, which may be part of a secret and is not repeated"
      ])
  }
}
