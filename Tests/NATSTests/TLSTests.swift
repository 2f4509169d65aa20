import Foundation
import NATS
import NIOCore
import TestServers
import Testing

/// An authority, a certificate for localhost and 127.0.0.1, and one for a client.
private struct Certificates {
  let folder: URL
  func path(_ name: String) -> String { folder.appendingPathComponent(name).path }

  init(_ program: String) throws {
    let folder = try temporaryFolder()
    self.folder = folder
    func openssl(_ arguments: String) throws {
      let words = arguments.split(separator: " ").map { String($0) }
      let (status, _) = try run(program, words, in: folder)
      guard status == 0 else { throw TestFailure("openssl \(arguments): status \(status)") }
    }
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    for ca in ["ca", "other-ca"] {
      try openssl("req -x509 \(key) -days 2 -subj /CN=\(ca) -keyout \(ca).key -out \(ca).pem")
    }
    let authority = """
      [ca]\ndefault_ca=x\n[x]\ndatabase=index\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p
      unique_subject=no\n[p]\ncommonName=supplied\n
      """
    for (name, text) in [("ca.cnf", authority), ("index", ""), ("serial", "01\n")] {
      try text.write(to: folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
    }
    let names = [
      ("server", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
      ("named", "subjectAltName=DNS:nats.example.org"),
      ("client", "extendedKeyUsage=clientAuth"), ("old-client", "extendedKeyUsage=clientAuth"),
      ("expired", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
      ("early", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    ]
    for (name, extensions) in names {
      try extensions.write(
        to: folder.appendingPathComponent("\(name).ext"), atomically: true, encoding: .utf8)
      try openssl("req \(key) -subj /CN=\(name) -keyout \(name).key -out \(name).csr")
      let dates =
        switch name {
        case "expired", "old-client": "-startdate 20200101000000Z -enddate 20200102000000Z"
        case "early": "-startdate 20470101000000Z -enddate 20470102000000Z"
        default: "-days 2"
        }
      try openssl(
        "ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key "
          + "-in \(name).csr -out \(name).pem -extfile \(name).ext \(dates)")
    }
  }

  func server(_ name: String, _ more: String) -> String {
    """
    tls { cert_file: "\(path("\(name).pem"))", key_file: "\(path("\(name).key"))", timeout: 5
      ca_file: "\(path("ca.pem"))"
      \(more)
    }
    """
  }
}

@Suite(
  "TLS", .timeLimit(.minutes(5)),
  .enabled(if: ServerBinary.openssl != nil, "openssl is missing; it makes the certificates"))
struct TLSTests {
  private func with(
    _ version: String, certificate: String = "server", _ more: String = "",
    _ body: (TestServer, Certificates) async throws -> Void
  ) async throws {
    let certificates = try Certificates(#require(ServerBinary.openssl))
    defer { try? FileManager.default.removeItem(at: certificates.folder) }
    try await TestServer.with(version, configuration: certificates.server(certificate, more)) {
      server in
      try await body(server, certificates)
    }
  }

  private func roundTrip(_ connection: NATSConnection) async throws {
    let subscription = try await connection.subscribe("t")
    let payload = [UInt8](repeating: 7, count: 200_000)
    try await connection.publish("t", headers: ["a": "b"], payload: payload)
    let message = try await within { try #require(try await subscription.next()) }
    #expect(Array(message.payload.readableBytesView) == payload)
    await connection.close()
    #expect(try await connection.closed.get() == nil)
  }

  @Test("a server certificate is verified with the CA file", arguments: ServerBinary.available)
  func authority(version: String) async throws {
    try await with(version) { server, files in
      let tls = NATSTLS(caFile: files.path("ca.pem"))
      // By name, by address, and because the server requires it.
      for url in [
        "tls://localhost:\(server.port)", "tls://\(server.address)", "nats://\(server.address)",
      ] {
        try await roundTrip(try await server.connect(NATSOptions(tls: tls), url: url))
      }
      for wrong in [NATSTLS(caFile: files.path("other-ca.pem")), NATSTLS()] {
        let error = await failure { try await server.connect(NATSOptions(tls: wrong)) }
        #expect(error?.code == .tlsFailed)
        #expect(error?.message.contains("CA file") == true)
      }
      // Without TLS settings: the server requires it, and the system's authorities don't trust it.
      let plain = await failure { try await server.connect() }
      #expect(plain?.code == .tlsFailed)
    }
  }

  @Test("a certificate for another name is rejected, unless that name is expected", .newestServer)
  func name() async throws {
    try await with(ServerBinary.newest, certificate: "named") { server, files in
      let ca = files.path("ca.pem")
      let url = "tls://localhost:\(server.port)"
      let error = await failure {
        try await server.connect(NATSOptions(tls: NATSTLS(caFile: ca)), url: url)
      }
      #expect(error?.code == .tlsFailed)
      #expect(error?.message.contains("name") == true)
      let named = NATSTLS(caFile: ca, serverName: "nats.example.org")
      try await roundTrip(try await server.connect(NATSOptions(tls: named), url: url))
      let chainOnly = NATSTLS(caFile: ca, verify: .noHostname)
      try await roundTrip(try await server.connect(NATSOptions(tls: chainOnly), url: url))
      let anything = NATSTLS(verify: .none)
      try await roundTrip(try await server.connect(NATSOptions(tls: anything), url: url))
    }
  }

  @Test("mutual: a server may require our certificate", arguments: ServerBinary.available)
  func mutual(version: String) async throws {
    try await with(version, "verify: true") { server, files in
      let ca = files.path("ca.pem")
      let right = NATSTLS(
        caFile: ca, certificateFile: files.path("client.pem"), keyFile: files.path("client.key"))
      try await roundTrip(try await server.connect(NATSOptions(tls: right)))
      let without = await failure {
        try await server.connect(NATSOptions(tls: NATSTLS(caFile: ca)))
      }
      #expect(without?.code == .tlsFailed || without?.code == .connectionLost)
      #expect(without?.message.contains("tls.cert_file") == true, "\(without.debugDescription)")
      #expect(without?.message.contains(".cc") == false)
      let old = NATSTLS(
        caFile: ca, certificateFile: files.path("old-client.pem"),
        keyFile: files.path("old-client.key"))
      let refused = await failure { try await server.connect(NATSOptions(tls: old)) }
      #expect(
        refused?.message.contains("our client certificate expired on 2020-01-02") == true,
        "\(refused.debugDescription)")
    }
  }

  @Test(
    "an expired or future certificate is distinguished from an untrusted one", .newestServer,
    arguments: [("expired", "expired on 2020-01-02"), ("early", "valid only from 2047-01-01")])
  func dates(certificate: String, words: String) async throws {
    try await with(ServerBinary.newest, certificate: certificate) { server, files in
      let tls = NATSTLS(caFile: files.path("ca.pem"))
      let error = await failure { try await server.connect(NATSOptions(tls: tls)) }
      #expect(error?.code == .tlsFailed)
      #expect(error?.message.contains(words) == true, "\(error.debugDescription)")
      #expect(error?.message.contains(".cc") == false)
    }
  }

  @Test("a byte order mark in a certificate or key file is ignored", .newestServer)
  func byteOrderMark() async throws {
    try await with(ServerBinary.newest, "verify: true") { server, files in
      for name in ["ca.pem", "client.pem", "client.key"] {
        let bytes = try Data(contentsOf: URL(fileURLWithPath: files.path(name)))
        try (Data([0xEF, 0xBB, 0xBF]) + bytes).write(
          to: URL(fileURLWithPath: files.path("bom-" + name)))
      }
      let tls = NATSTLS(
        caFile: files.path("bom-ca.pem"), certificateFile: files.path("bom-client.pem"),
        keyFile: files.path("bom-client.key"))
      try await roundTrip(try await server.connect(NATSOptions(tls: tls)))
    }
  }

  @Test("TLS before INFO", arguments: ServerBinary.withHandshakeFirst)
  func handshakeFirst(version: String) async throws {
    try await with(version, "handshake_first: true") { server, files in
      let ca = files.path("ca.pem")
      let first = NATSTLS(caFile: ca, handshakeFirst: true)
      try await roundTrip(try await server.connect(NATSOptions(tls: first)))
      let error = await failure {
        try await server.connect(
          NATSOptions(tls: NATSTLS(caFile: ca), connectTimeout: .milliseconds(500)))
      }
      #expect(error?.code == .timeout)
      #expect(error?.message.contains("handshake_first") == true)
    }
  }

  @Test("TLS before INFO with a server that doesn't support it", arguments: ServerBinary.available)
  func notHandshakeFirst(version: String) async throws {
    try await with(version) { server, files in
      let tls = NATSTLS(caFile: files.path("ca.pem"), handshakeFirst: true)
      let error = await failure { try await server.connect(NATSOptions(tls: tls)) }
      #expect(error?.code == .tlsFailed)
      #expect(error?.message.contains("handshake_first") == true)
    }
  }

  @Test("with TLS configured, no credentials are sent to a server without TLS", .newestServer)
  func notOffered() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let error = await failure { try await server.connect(url: "tls://\(server.address)") }
      #expect(error?.code == .tlsFailed)
      #expect(error?.message.contains("does not offer") == true)
    }
  }

  @Test("unusable files are reported by name")
  func files() async throws {
    let certificates = try Certificates(#require(ServerBinary.openssl))
    defer { try? FileManager.default.removeItem(at: certificates.folder) }
    let path = certificates.path
    let cases: [(NATSTLS, String)] = [
      (NATSTLS(caFile: path("none.pem")), "none.pem"),
      (NATSTLS(caFile: path("server.ext")), "server.ext"),
      (NATSTLS(certificateFile: path("client.pem")), "key file"),
      (NATSTLS(certificateFile: path("client.pem"), keyFile: path("none.key")), "none.key"),
      (
        NATSTLS(certificateFile: path("client.pem"), keyFile: path("server.key")), "match?"
      ),
    ]
    for (tls, expected) in cases {
      let error = await failure {
        try await NATSConnection.connect(
          to: [NATSServerAddress(url: "127.0.0.1:1")], options: NATSOptions(tls: tls), logger: quiet
        )
      }
      #expect(error?.code == .badCredentials)
      #expect(error?.message.contains(expected) == true, "\(error.map { "\($0)" } ?? "nothing")")
    }
  }
}
