import CLibCrypto

/// An Ed25519 key pair (RFC 8032).
///
/// Sendable invariant: `key` never changes once made; a signature has a context of its own, and
/// libcrypto lets any number of threads use one key. Freeing it overwrites the secret.
package final class Ed25519Key: @unchecked Sendable {
  package static let seedByteCount = 32
  private static let signatureByteCount = 64

  /// 32 bytes.
  package let publicKey: [UInt8]
  private let key: OpaquePointer

  /// - Parameter seed: the 32 secret bytes that the pair is derived from.
  package init(seed: some Sequence<UInt8>) throws(LibCryptoError) {
    let seed = Array(seed)
    guard
      let key = EVP_PKEY_new_raw_private_key_ex(nil, "ED25519", nil, seed, seed.count)
    else { throw LibCryptoError("no Ed25519 key can be made of \(seed.count) bytes") }
    var length = Self.seedByteCount
    var publicKey = [UInt8](repeating: 0, count: length)
    guard EVP_PKEY_get_raw_public_key(key, &publicKey, &length) == 1 else {
      EVP_PKEY_free(key)
      throw LibCryptoError("the Ed25519 key has no public key")
    }
    self.publicKey = publicKey
    self.key = key
  }

  deinit { EVP_PKEY_free(key) }

  /// 64 bytes.
  package func signature(of message: [UInt8]) throws(LibCryptoError) -> [UInt8] {
    let context = EVP_MD_CTX_new()
    defer { EVP_MD_CTX_free(context) }
    var length = Self.signatureByteCount
    var signature = [UInt8](repeating: 0, count: length)
    guard EVP_DigestSignInit(context, nil, nil, nil, key) == 1,
      EVP_DigestSign(context, &signature, &length, message, message.count) == 1
    else { throw LibCryptoError("the Ed25519 key cannot sign") }
    return signature
  }
}
