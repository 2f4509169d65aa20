import NATS
import Testing

@Suite("NKeys and credentials")
struct CredentialTests {
  // Pairs created with the NATS project's nkeys library.
  @Test("a seed yields its public key", arguments: knownKeys)
  func publicKey(pair: KnownKey) throws {
    #expect(try NKey(seed: pair.seed).publicKey == pair.publicKey)
  }

  @Test("signatures equal those of the NATS project's library", arguments: knownKeys)
  func signature(pair: KnownKey) throws {
    let signature = try NKey(seed: pair.seed).sign("nonce-123".utf8)
    #expect(Base64URL.encode(signature) == pair.signature)
  }

  @Test("invalid seeds are errors, and not printed")
  func brokenSeeds() {
    let seed = knownKeys[0].seed
    var flipped = Array(seed)
    flipped[20] = flipped[20] == "A" ? "B" : "A"
    let broken = [
      "", "S", "not base32!", String(seed.dropLast()), seed + "A", seed.lowercased(),
      knownKeys[0].publicKey, String(flipped),
    ]
    for text in broken {
      let error = #expect(throws: NATSError.self) { try NKey(seed: text) }
      #expect(error?.code == .badCredentials)
      if text.count > 3 { #expect(error?.description.contains(text) == false) }
    }
  }

  @Test("CRC-16, base32 and base64url match their standards' test vectors")
  func encodings() {
    #expect(CRC16.checksum(Array("123456789".utf8)[...]) == 0x31C3)
    let base32 = ["": "", "f": "MY", "fo": "MZXQ", "foo": "MZXW6", "foobar": "MZXW6YTBOI"]
    for (plain, coded) in base32 {
      #expect(Base32.encode(Array(plain.utf8)) == coded)
      #expect(Base32.decode(Array(coded.utf8)) == Array(plain.utf8))
    }
    for text in ["A1", "A", "MZXW6YTBOIA", "MY======"] {
      #expect(Base32.decode(Array(text.utf8)) == nil)
    }
    #expect(Base64URL.encode("foob".utf8) == "Zm9vYg")
    #expect(Base64URL.encode([0xFB, 0xFF, 0xFE]) == "-__-")
    for text in ["", "f", "fo", "foo", "foob", "fooba", "foobar"] {
      #expect(Base64URL.decode(Base64URL.encode(text.utf8)) == Array(text.utf8))
    }
    #expect(Base64URL.decode("Zm9vYg==") == Array("foob".utf8))
    #expect(Base64URL.decode("a+b/") == nil)
  }

  private let file = """
    -----BEGIN NATS USER JWT-----
    eyJ0eXAi.eyJqdGki.c2ln
    ------END NATS USER JWT------

    ************************* IMPORTANT *************************
    NKEY Seed printed below can be used to sign and prove identity.

    -----BEGIN USER NKEY SEED-----
    \(knownKeys[0].seed)
    ------END USER NKEY SEED------

    *************************************************************
    """

  @Test("a creds file is parsed, with both kinds of line ends")
  func credentialsFile() throws {
    for text in [
      file, file.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\r\n"),
    ] {
      guard
        case .credentials(let jwt, let seed) = try NATSAuthentication.credentialsFile(
          contents: text)
      else {
        Issue.record("no credentials")
        return
      }
      #expect(jwt == "eyJ0eXAi.eyJqdGki.c2ln")
      #expect(seed == knownKeys[0].seed)
    }
  }

  @Test("a missing part of a creds file is reported")
  func brokenFiles() {
    let cases = [
      ("", "JWT"), ("-----BEGIN NATS USER JWT-----\na.b.c\n------END", "SEED"),
      (file.split(separator: "eyJqdGki.").joined(), "three parts"),
      (file.split(separator: knownKeys[0].seed).joined(separator: "SUAAA"), "nkey seed"),
    ]
    for (text, expected) in cases {
      let error = #expect(throws: NATSError.self) {
        try NATSAuthentication.credentialsFile(contents: text)
      }
      #expect(error?.code == .badCredentials)
      #expect(error?.message.contains(expected) == true)
    }
  }

  @Test("descriptions and dumps don't contain secrets")
  func descriptions() throws {
    let seed = knownKeys[0].seed
    let all: [NATSAuthentication] = [
      .token("s3cret"), .userPassword(user: "u", password: "s3cret"), .nkey(seed: seed),
      .credentials(jwt: "s3cret", seed: seed),
    ]
    for authentication in all {
      var dumped = ""
      dump(NATSOptions(authentication: authentication), to: &dumped)
      for text in ["\(authentication)", String(reflecting: authentication), dumped] {
        #expect(!text.contains("s3cret") && !text.contains(seed))
      }
    }
    let key = try NKey(seed: seed)
    #expect("\(key)" == key.publicKey)
    #expect(Mirror(reflecting: key).children.count == 1)
  }
}
