import CLibCrypto

/// SHA-256 of OpenSSL's libcrypto, which libmongoc brings anyway.
package enum SHA256 {
  package static let byteCount = 32

  /// Calls `body` with the 32 bytes of the digest.
  package static func withDigest<R>(
    of message: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws -> R
  ) rethrows -> R {
    try withUnsafeTemporaryAllocation(byteCount: byteCount, alignment: 8) { digest in
      let start = digest.baseAddress!.assumingMemoryBound(to: UInt8.self)
      let done = EVP_Digest(
        message.baseAddress, message.count, start, nil, algorithm.pointer, nil)
      guard done == 1 else { LibCryptoError.halt("SHA-256") }
      return try body(UnsafeRawBufferPointer(digest))
    }
  }

  private static let algorithm = Algorithm()

  /// Looked up once: a look-up takes longer than the digest of a few bytes.
  ///
  /// Sendable invariant: never changed once made, and read only by libcrypto, which lets any number
  /// of threads use it.
  private struct Algorithm: @unchecked Sendable {
    let pointer: OpaquePointer

    init() {
      guard let found = EVP_MD_fetch(nil, "SHA256", nil) else { LibCryptoError.halt("SHA-256") }
      pointer = found
    }
  }
}
