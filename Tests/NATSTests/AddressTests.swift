import NATS
import Testing

@Suite("Server addresses")
struct AddressTests {
  @Test(
    "URLs are understood",
    arguments: [
      ("nats://127.0.0.1:4333", "nats://127.0.0.1:4333"),
      ("nats://example.org", "nats://example.org:4222"),
      ("tls://a-b.c_d.example:1", "tls://a-b.c_d.example:1"),
      ("localhost", "nats://localhost:4222"),
      ("localhost:65535/", "nats://localhost:65535"), ("NATS://X:9", "nats://X:9"),
      ("nats://[::1]:4222", "nats://[::1]:4222"), ("[fe80::1%eth0]", "nats://[fe80::1%eth0]:4222"),
    ])
  func valid(url: String, expected: String) throws {
    let address = try NATSServerAddress(url: url)
    #expect(address.description == expected)
    #expect(address.tls == expected.hasPrefix("tls"))
  }

  @Test("user, password and token are decoded")
  func userinfo() throws {
    let both = try NATSServerAddress(url: "nats://us%40er:p%3Aa:s@s@host:1")
    #expect(both.user == "us@er")
    #expect(both.password == "p:a:s@s")
    #expect(both.host == "host")
    let token = try NATSServerAddress(url: "tls://t0ken@host")
    #expect(token.user == "t0ken")
    #expect(token.password == nil)
  }

  @Test(
    "invalid addresses are errors",
    arguments: [
      "", "nats://", "http://host:1", "nats://host:0", "nats://host:65536", "nats://host:+80",
      "nats://host:12a", "nats://host:", "nats://ho st", "nats://[::1", "nats://[host]:1", "a:b:c",
      "nats://u:%zz@host", "nats://u:%4@host", "nats://host/path",
    ])
  func invalid(url: String) {
    let error = #expect(throws: NATSError.self) { try NATSServerAddress(url: url) }
    #expect(error?.code == .badURL)
  }

  @Test("descriptions and errors omit everything before the @")
  func secrets() throws {
    let address = try NATSServerAddress(url: "nats://user:s3cret@host:1")
    var dumped = ""
    dump(address, to: &dumped)
    for text in [address.description, String(reflecting: address), "\(address)", dumped] {
      #expect(!text.contains("s3cret") && !text.contains("user"))
    }
    let error = #expect(throws: NATSError.self) {
      try NATSServerAddress(url: "nats://user:s3cret@host:none")
    }
    #expect(error?.description.contains("s3cret") == false)
  }
}

@Suite("Server information")
struct ServerInfoTests {
  @Test("INFO is parsed, unknown fields are ignored")
  func info() throws {
    let json = """
      {"server_id":"NABC","server_name":"n1","version":"2.12.8","proto":1,"go":"go1.25",
       "host":"0.0.0.0","port":4222,"headers":true,"max_payload":2097152,"jetstream":true,
       "client_id":7,"client_ip":"127.0.0.1","nonce":"xyz","auth_required":true,
       "tls_required":true,"tls_available":true,"cluster":"c","domain":"d","ldm":true,
       "connect_urls":["10.0.0.1:4222","[::1]:4222"],"later":{"x":[1,2]}}
      """
    let info = try NATSServerInfo(parsing: json.utf8)
    #expect(info.serverID == "NABC" && info.serverName == "n1" && info.clientID == 7)
    #expect(info.version == NATSVersion(2, 12, 8))
    #expect(info.maxPayload == 2 << 20 && info.headers && info.jetstream)
    #expect(info.authRequired && info.tlsRequired && info.tlsAvailable && info.lameDuck)
    #expect(info.nonce == "xyz" && info.cluster == "c" && info.domain == "d")
    #expect(info.connectURLs == ["10.0.0.1:4222", "[::1]:4222"])
  }

  @Test("missing or invalid values keep the defaults")
  func defaults() throws {
    let empty = try NATSServerInfo(parsing: "{}".utf8)
    #expect(empty == NATSServerInfo())
    let odd = try NATSServerInfo(
      parsing: #"{"max_payload":-1,"version":"new","client_id":"x","connect_urls":[1,"a"]}"#.utf8)
    #expect(odd.maxPayload == 1 << 20)
    #expect(odd.version == NATSVersion(0, 0, 0))
    #expect(odd.connectURLs == ["a"])
  }

  @Test("an invalid INFO is a violation", arguments: ["", "{", "[]", "7", "{\"a\":}"])
  func broken(json: String) {
    let error = #expect(throws: NATSError.self) { try NATSServerInfo(parsing: json.utf8) }
    #expect(error?.code == .protocolViolation)
  }

  @Test("versions compare by number")
  func versions() throws {
    #expect(NATSVersion("2.9.10") == NATSVersion(2, 9, 10))
    #expect(NATSVersion("v2.14.0-RC.1") == NATSVersion(2, 14, 0))
    #expect(NATSVersion("2.9") == nil)
    #expect(NATSVersion("2..9") == nil)
    #expect(NATSVersion("2.x.9") == nil)
    #expect(NATSVersion(2, 9, 10) < NATSVersion(2, 10, 0))
    #expect(NATSVersion(2, 12, 1) >= NATSVersion(2, 12, 1))
    #expect(NATSVersion(3, 0) > NATSVersion(2, 99, 99))
  }
}
