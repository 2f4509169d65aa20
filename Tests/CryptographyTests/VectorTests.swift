import Cryptography
import Testing

/// The bytes that hex digits stand for.
private func bytes(_ hex: String) -> [UInt8] {
  let digits = Array(hex)
  return stride(from: 0, to: digits.count, by: 2).map {
    UInt8(String(digits[$0...$0 + 1]), radix: 16)!
  }
}

private func digest(_ message: [UInt8]) -> [UInt8] {
  message.withUnsafeBytes { SHA256.withDigest(of: $0) { Array($0) } }
}

private func code(_ message: [UInt8], _ key: HMACKey) -> [UInt8] {
  message.withUnsafeBytes { key.withCode(of: $0) { Array($0) } }
}

@Suite("Standards' test vectors")
struct VectorTests {
  @Test(
    "SHA-256: FIPS 180-4's examples",
    arguments: [
      ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
      ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
      (
        "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
      ),
      (
        String(repeating: "a", count: 1_000_000),
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
      ),
    ])
  func sha256(message: String, expected: String) {
    #expect(digest(Array(message.utf8)) == bytes(expected))
    #expect(SHA256.withDigest(of: UnsafeRawBufferPointer(start: nil, count: 0)) { $0.count } == 32)
  }

  @Test(
    "HMAC-SHA256: RFC 4231",
    arguments: [
      (
        [UInt8](repeating: 0x0B, count: 20), Array("Hi There".utf8),
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
      ),
      (
        Array("Jefe".utf8), Array("what do ya want for nothing?".utf8),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
      ),
      (
        [UInt8](repeating: 0xAA, count: 20), [UInt8](repeating: 0xDD, count: 50),
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
      ),
      (
        [UInt8](repeating: 0xAA, count: 131),
        Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
      ),
      // Computed with Python's hmac.
      ([], [], "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"),
    ] as [([UInt8], [UInt8], String)])
  func hmac(key: [UInt8], message: [UInt8], expected: String) {
    let key = HMACKey(key)
    #expect(code(message, key) == bytes(expected))
    // One key computes any number of codes.
    #expect(code(message + [1], key) != bytes(expected))
    #expect(code(message, key) == bytes(expected))
  }

  @Test("one HMAC key serves many threads")
  func hmacInParallel() async {
    let key = HMACKey(Array("Jefe".utf8))
    let messages = (0..<64).map { [UInt8](repeating: UInt8($0), count: $0) }
    let expected = messages.map { code($0, key) }
    #expect(Set(expected).count == messages.count)
    await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<8 {
        group.addTask { (0..<100).allSatisfy { _ in messages.map { code($0, key) } == expected } }
      }
      for await same in group { #expect(same) }
    }
  }

  @Test(
    "Ed25519: RFC 8032, 7.1",
    arguments: [
      (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
          + "d25bf5f0595bbe24655141438e7a100b"
      ),
      (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
          + "387b2eaeb4302aeeb00d291612bb0c00"
      ),
      (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
          + "4a7c15e9716ed28dc027beceea1ec40a"
      ),
    ])
  func ed25519(seed: String, publicKey: String, message: String, signature: String) throws {
    let key = try Ed25519Key(seed: bytes(seed))
    #expect(key.publicKey == bytes(publicKey))
    #expect(try key.signature(of: bytes(message)) == bytes(signature))
  }

  @Test("a seed of another length is an error that names the length only", arguments: [0, 31, 33])
  func wrongSeed(count: Int) {
    let error = #expect(throws: LibCryptoError.self) {
      try Ed25519Key(seed: [UInt8](repeating: 7, count: count))
    }
    #expect(error?.description.contains("\(count) bytes") == true)
    #expect(error?.description.contains("7, 7") == false)
  }
}
