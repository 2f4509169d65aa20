import Cryptography
import Foundation
import NATS
import NIOCore
import TestServers
import Testing

@Suite("Authentication", .timeLimit(.minutes(5)))
struct AuthenticationTests {
  /// The accepted credentials, and that all others are rejected.
  private func check(
    _ server: TestServer, _ right: NATSAuthentication, wrong: [NATSAuthentication]
  ) async throws {
    let connection = try await server.connect(NATSOptions(authentication: right))
    try await connection.flush()
    await connection.close()
    for authentication in wrong {
      let error = await failure {
        try await server.connect(NATSOptions(authentication: authentication))
      }
      #expect(error?.code == .authenticationFailed, "\(String(describing: error))")
      #expect(error?.server == server.address)
    }
  }

  @Test("token", arguments: ServerBinary.available)
  func token(version: String) async throws {
    try await TestServer.with(version, configuration: "authorization { token: \"t0k/en\" }") {
      server in
      try await check(server, .token("t0k/en"), wrong: [.none, .token("other")])
      let connection = try await server.connect(url: "nats://t0k%2Fen@\(server.address)")
      await connection.close()
    }
  }

  @Test("user and password", arguments: ServerBinary.available)
  func userPassword(version: String) async throws {
    let configuration = "authorization { user: \"u\", password: \"p:@w\" }"
    try await TestServer.with(version, configuration: configuration) { server in
      try await check(
        server, .userPassword(user: "u", password: "p:@w"),
        wrong: [.none, .userPassword(user: "u", password: "x"), .token("p:@w")])
      let connection = try await server.connect(url: "nats://u:p%3A%40w@\(server.address)")
      await connection.close()
      // The options take precedence.
      let error = await failure {
        try await server.connect(
          NATSOptions(authentication: .userPassword(user: "u", password: "wrong")),
          url: "nats://u:p%3A%40w@\(server.address)")
      }
      #expect(error?.code == .authenticationFailed, "\(String(describing: error))")
      #expect(error?.description.contains("wrong") == false)
    }
  }

  @Test("nkey", arguments: ServerBinary.available)
  func nkey(version: String) async throws {
    let user = try TestKey(.user)
    let configuration = "authorization { users: [ { nkey: \"\(user.publicKey)\" } ] }"
    try await TestServer.with(version, configuration: configuration) { server in
      try await check(
        server, .nkey(seed: user.seed), wrong: [.none, .nkey(seed: try TestKey(.user).seed)])
    }
  }

  @Test(
    "an nkey for a server without nkey users, and an invalid seed, are reported",
    .newestServer)
  func nkeyMisuse() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let unknown = await failure {
        try await server.connect(NATSOptions(authentication: .nkey(seed: try TestKey(.user).seed)))
      }
      #expect(unknown?.code == .authenticationFailed)
      #expect(unknown?.message.contains("nkey") == true)
      let broken = await failure {
        try await server.connect(NATSOptions(authentication: .nkey(seed: "SUABC")))
      }
      #expect(broken?.code == .badCredentials)
    }
  }

  @Test("credentials: operator, account and user JWT", arguments: ServerBinary.available)
  func credentials(version: String) async throws {
    let operatorKey = try TestKey(.operator)
    let account = try TestKey(.account)
    let user = try TestKey(.user)
    let operatorJWT = try operatorKey.issue(to: operatorKey, #""type":"operator","version":2"#)
    let accountJWT = try operatorKey.issue(
      to: account,
      #""type":"account","version":2,"limits":{"subs":-1,"data":-1,"payload":-1,"imports":-1,"#
        + #""exports":-1,"wildcards":true,"conn":-1,"leaf":-1}"#)
    let userClaims = #""type":"user","version":2,"subs":-1,"data":-1,"payload":-1"#
    let configuration = """
      operator: \(operatorJWT)
      resolver: MEMORY
      resolver_preload: { \(account.publicKey): \(accountJWT) }
      """
    try await TestServer.with(version, configuration: configuration) { server in
      let jwt = try account.issue(to: user, userClaims)
      let file = """
        -----BEGIN NATS USER JWT-----
        \(jwt)
        ------END NATS USER JWT------

        -----BEGIN USER NKEY SEED-----
        \(user.seed)
        ------END USER NKEY SEED------
        """
      let stranger = try TestKey(.account)
      try await check(
        server, try .credentialsFile(contents: file),
        wrong: [
          .none,
          // The seed of another user, a JWT of another account, and one that has expired.
          .credentials(jwt: jwt, seed: try TestKey(.user).seed),
          .credentials(jwt: try stranger.issue(to: user, userClaims), seed: user.seed),
          .credentials(
            jwt: try account.issue(to: user, userClaims, expires: 1_000_000), seed: user.seed),
        ])
      let expired = try account.issue(to: user, userClaims, expires: 1_000_000)
      let error = await failure {
        try await server.connect(
          NATSOptions(authentication: .credentials(jwt: expired, seed: user.seed)))
      }
      #expect(error?.message.contains("expired on 1970-01-12") == true, "\(error.debugDescription)")
    }
  }

  @Test(
    "a refused subject fails only its own operations", arguments: ServerBinary.available
  )
  func permissions(version: String) async throws {
    let configuration = """
      authorization { users: [ { user: u, password: p, permissions: {
        publish: { allow: ["ok.>"] }, subscribe: { allow: ["ok.>", "_INBOX.>"] } } } ] }
      """
    try await TestServer.with(version, configuration: configuration) { server in
      let connection = try await server.connect(url: "nats://u:p@\(server.address)")
      let reported = connection.eventLoop.makePromise(of: NATSError.self)
      connection.onServerError { reported.succeed($0) }
      let refused = try await connection.subscribe("forbidden.a")
      let ended = try await within { await failure { try await refused.next() } }
      #expect(ended?.code == .permissionsViolation)
      #expect(try await reported.futureResult.get().message.contains("forbidden.a"))
      // The request doesn't wait for its timeout.
      let request = try await within {
        await failure { try await connection.request("forbidden.b", timeout: .seconds(600)) }
      }
      #expect(request?.code == .permissionsViolation)
      let allowed = try await connection.subscribe("ok.a")
      try await connection.publish("ok.a", payload: "x")
      #expect(try await within { try await allowed.next() } != nil)
      await connection.close()
    }
  }

  @Test(
    "a user without permission for the inbox gets an error, and can use another prefix",
    .newestServer)
  func inbox() async throws {
    let configuration = """
      authorization { users: [ { user: u, password: p, permissions: {
        publish: ">", subscribe: { allow: ["ok", "mine.>"] } } } ] }
      """
    try await TestServer.with(ServerBinary.newest, configuration: configuration) { server in
      let url = "nats://u:p@\(server.address)"
      let refused = try await server.connect(url: url)
      for _ in 0..<2 {
        let error = try await within {
          await failure { try await refused.request("ok", timeout: .seconds(600)) }
        }
        #expect(error?.code == .permissionsViolation)
        #expect(error?.message.contains("_INBOX") == true)
      }
      await refused.close()
      let own = try await server.connect(NATSOptions(inboxPrefix: "mine.inbox"), url: url)
      #expect(own.newInbox().hasPrefix("mine.inbox."))
      let error = await failure { try await own.request("ok") }
      #expect(error?.code == .noResponders)
      await own.close()
      let broken = await failure {
        try await server.connect(NATSOptions(inboxPrefix: "a.*"), url: url)
      }
      #expect(broken?.code == .invalidSubject)
    }
  }
}

/// A fresh key pair of any kind, able to issue JWTs.
struct TestKey {
  enum Kind: UInt8 {
    case `operator` = 112  // 14 << 3: O
    case account = 0  // A
    case user = 160  // 20 << 3: U
  }

  let seed: String
  let publicKey: String
  private let key: Ed25519Key

  init(_ kind: Kind) throws {
    func encode(_ bytes: [UInt8]) -> String {
      let crc = CRC16.checksum(bytes[...])
      return Base32.encode(bytes + [UInt8(crc & 0xFF), UInt8(crc >> 8)])
    }
    let secret = (0..<Ed25519Key.seedByteCount).map { _ in UInt8.random(in: .min ... .max) }
    key = try Ed25519Key(seed: secret)
    let type = kind.rawValue
    seed = encode([18 << 3 | type >> 5, (type & 31) << 3] + secret)
    publicKey = encode([type] + key.publicKey)
  }

  /// A signed JWT for `subject`, as created by nsc; `claims` is the value of `nats`.
  func issue(to subject: TestKey, _ claims: String, expires: Int? = nil) throws -> String {
    let header = #"{"typ":"JWT","alg":"ed25519-nkey"}"#
    let expiry = expires.map { #""exp":\#($0),"# } ?? ""
    let body =
      #"{\#(expiry)"jti":"\#(UUID().uuidString)","iat":1700000000,"iss":"\#(publicKey)","#
      + #""name":"test","sub":"\#(subject.publicKey)","nats":{\#(claims)}}"#
    let signed = Base64URL.encode(header.utf8) + "." + Base64URL.encode(body.utf8)
    return signed + "." + Base64URL.encode(try key.signature(of: Array(signed.utf8)))
  }
}
