/// What to do about errors of libmongoc, which say what happened and not why. Pure functions.
package enum MongoAdvice {
  /// How a connection string connects.
  package enum Encryption: Sendable {
    case none
    case server
    /// With a certificate of our own (`tlsCertificateKeyFile`).
    case mutual
  }

  /// Of a failed TLS handshake.
  ///
  /// - Returns: nil for anything else.
  package static func handshake(_ message: String) -> String? {
    guard let marker = message.firstRange(of: "certificate verify failed") else { return nil }
    // OpenSSL's X509_V_ERR codes, in parentheses.
    let code = message[marker.upperBound...].drop { $0 == " " || $0 == "(" }.prefix {
      $0.isASCII && $0.isNumber
    }
    return switch code {
    case "9": "the server's certificate is not valid yet; compare the clocks of both machines"
    case "10": "the server's certificate has expired; renew it on the server"
    case "62", "63", "64":
      """
      the server's certificate is for another name; connect by a name that it has, or issue one for \
      this address
      """
    default:
      """
      the server's certificate is not trusted; set tlsCAFile in source.uri to the authority that \
      issued it
      """
    }
  }

  /// Of a connection that a server ended before it answered.
  ///
  /// - Returns: nil for anything else.
  package static func closed(_ message: String, _ encryption: Encryption) -> String? {
    let signs = ["connection closed", "Failed to receive length header", "socket error or timeout"]
    guard signs.contains(where: { message.contains($0) }) else { return nil }
    return switch encryption {
    case .none: "the server may require TLS (tls=true in source.uri)"
    case .server:
      "the server may require a client certificate (tlsCertificateKeyFile in source.uri)"
    case .mutual:
      "the server may have rejected the client certificate (tlsCertificateKeyFile): it must be valid "
        + "now, and issued by an authority that the server trusts"
    }
  }

  /// Of rejected credentials.
  package static func authentication(_ message: String) -> String {
    message.contains("$external")
      ? "create a user in $external whose name is the certificate's subject, or use another certificate "
        + "(tlsCertificateKeyFile in source.uri)"
      : "check user, password and authSource in source.uri"
  }
}
