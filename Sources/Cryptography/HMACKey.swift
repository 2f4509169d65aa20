import CLibCrypto

/// A key for HMAC-SHA256.
///
/// Sendable invariant: `template` never changes once made. Every code is computed on a copy of it,
/// which libcrypto lets any number of threads make at once.
package final class HMACKey: @unchecked Sendable {
  /// The computation as it is before the first byte of a message.
  private let template: OpaquePointer

  /// - Parameter bytes: of any number.
  package init(_ bytes: [UInt8]) {
    guard let algorithm = EVP_MAC_fetch(nil, OSSL_MAC_NAME_HMAC, nil),
      let template = EVP_MAC_CTX_new(algorithm)
    else { LibCryptoError.halt("HMAC") }
    EVP_MAC_free(algorithm)
    self.template = template
    var name = Array("SHA256".utf8CString)
    // An empty array has no address, and no address would mean no key.
    let key = bytes.isEmpty ? [0] : bytes
    let done = name.withUnsafeMutableBufferPointer { name in
      let parameters = [
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name.baseAddress, 0),
        OSSL_PARAM_construct_end(),
      ]
      return EVP_MAC_init(template, key, bytes.count, parameters)
    }
    guard done == 1 else { LibCryptoError.halt("HMAC-SHA256") }
  }

  deinit { EVP_MAC_CTX_free(template) }

  /// Calls `body` with the 32 bytes of the message's code.
  package func withCode<R>(
    of message: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) throws -> R
  ) rethrows -> R {
    guard let context = EVP_MAC_CTX_dup(template) else { LibCryptoError.halt("HMAC-SHA256") }
    defer { EVP_MAC_CTX_free(context) }
    return try withUnsafeTemporaryAllocation(byteCount: SHA256.byteCount, alignment: 8) { code in
      let bytes = message.baseAddress?.assumingMemoryBound(to: UInt8.self)
      let start = code.baseAddress!.assumingMemoryBound(to: UInt8.self)
      guard EVP_MAC_update(context, bytes, message.count) == 1,
        EVP_MAC_final(context, start, nil, code.count) == 1
      else { LibCryptoError.halt("HMAC-SHA256") }
      return try body(UnsafeRawBufferPointer(code))
    }
  }
}
