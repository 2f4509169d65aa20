import CLibCrypto

/// What libcrypto refused, with its own reason. It contains nothing of keys or messages.
package struct LibCryptoError: Error, CustomStringConvertible {
  package let description: String

  /// Takes the reason off this thread's queue of errors.
  init(_ what: String) {
    let code = ERR_get_error()
    ERR_clear_error()
    guard code != 0 else {
      description = what
      return
    }
    var text = [CChar](repeating: 0, count: 256)
    ERR_error_string_n(code, &text, text.count)
    let reason = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    description = "\(what): \(String(decoding: reason, as: UTF8.self))"
  }

  /// Every libcrypto has these algorithms: without them only memory or its configuration can be at fault.
  static func halt(_ algorithm: String) -> Never {
    fatalError(
      "\(LibCryptoError("OpenSSL's libcrypto cannot compute \(algorithm)")); check its configuration (openssl version -a)"
    )
  }
}
