#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The validity period of a certificate, in seconds since 1970.
package struct CertificateDates: Sendable, Equatable {
  package var notBefore: Int
  package var notAfter: Int

  package init(notBefore: Int, notAfter: Int) {
    self.notBefore = notBefore
    self.notAfter = notAfter
  }
}

/// A TLS failure, with advice. A pure value.
///
/// BoringSSL reports reasons (`CERTIFICATE_VERIFY_FAILED`) together with its source files; only the
/// reasons are kept. It doesn't report why a certificate was rejected; the certificates' dates may show
/// that.
package struct TLSFailure: Sendable, Equatable {
  package enum Kind: Sendable, Equatable {
    /// The certificate is for another name; with BoringSSL's text, which has the expected one.
    case wrongName(String)
    /// The server closed the connection during the handshake.
    case ended
    /// The server disconnected without closing the TLS session.
    case unclean
    /// BoringSSL's reasons.
    case reasons([String])
  }

  package var kind: Kind
  /// The server's certificate, if it was received.
  package var server: CertificateDates?
  /// The CA file's certificates; nil without one.
  package var authorities: CertificateDates?
  /// Our own certificate; nil without one.
  package var client: CertificateDates?

  package init(
    _ kind: Kind, server: CertificateDates? = nil, authorities: CertificateDates? = nil,
    client: CertificateDates? = nil
  ) {
    self.kind = kind
    self.server = server
    self.authorities = authorities
    self.client = client
  }

  /// The words after `OPENSSL_internal:`; otherwise the text up to a possible path.
  package static func reasons(in text: String) -> [String] {
    let marker = "OPENSSL_internal:"
    var found: [String] = []
    var rest = Substring(text)
    while let next = rest.firstRange(of: marker) {
      rest = rest[next.upperBound...]
      let word = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
      if !word.isEmpty, !found.contains(String(word)) { found.append(String(word)) }
    }
    return found.isEmpty ? [String(text.prefix { $0 != "/" }.prefix(120))] : found
  }

  /// What happened, without advice.
  package var words: String {
    switch kind {
    case .wrongName(let what): what
    case .ended: "the server closed the connection during the TLS handshake"
    case .unclean: "the server disconnected without closing the TLS session"
    case .reasons(let reasons):
      reasons.map { $0.lowercased().replacing("_", with: " ") }.joined(separator: ", ")
    }
  }

  /// - Parameters:
  ///   - now: seconds since 1970.
  ///   - early: the server has not accepted the connection yet.
  package func error(now: Int, early: Bool) -> NATSError {
    switch kind {
    case .unclean:
      return NATSError(
        .connectionLost, early && client == nil ? words + Self.wantsCertificate : words)
    case .ended: return NATSError(.tlsFailed, words + (client == nil ? Self.wantsCertificate : ""))
    case .wrongName:
      return NATSError(
        .tlsFailed,
        "the server's certificate is for another name (\(words)); connect by a name it was issued "
          + "for, or issue one for this address")
    case .reasons(let reasons):
      for reason in reasons {
        if let advice = advice(reason, now) { return NATSError(.tlsFailed, advice) }
      }
      return NATSError(.tlsFailed, "the TLS handshake failed: \(words)")
    }
  }

  private static let wantsCertificate =
    "; it may require a client certificate: set tls.cert_file and tls.key_file"

  private func advice(_ reason: String, _ now: Int) -> String? {
    switch reason {
    case "CERTIFICATE_VERIFY_FAILED": return untrusted(now)
    case "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST":
      return """
        the server does not start with TLS; disable handshake_first here, or enable it in the server
        """
    case "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_SHARED_CIPHER",
      "TLSV1_ALERT_INSUFFICIENT_SECURITY":
      return "client and server have no TLS version or cipher in common; TLS 1.2 is the minimum"
    case "TLSV1_ALERT_UNRECOGNIZED_NAME", "TLSV1_UNRECOGNIZED_NAME":
      return "the server has no certificate for this name; connect by a name that it has one for"
    default: return reason.contains("ALERT") ? refused(reason, now) : nil
    }
  }

  /// The server's certificate is not trusted.
  private func untrusted(_ now: Int) -> String {
    if let server, server.notAfter < now {
      return
        "the server's certificate expired on \(SystemTime.text(server.notAfter)); renew it"
    }
    if let server, server.notBefore > now {
      return "the server's certificate is valid only from \(SystemTime.text(server.notBefore)) on; "
        + "compare the clocks of both machines (here it is \(SystemTime.text(now)))"
    }
    if let authorities, authorities.notAfter < now {
      return "the CA file's certificate expired on \(SystemTime.text(authorities.notAfter)); "
        + "set tls.ca_file to the current one"
    }
    return authorities == nil
      ? "the server's certificate is not trusted: it was not issued by one of the system's authorities; "
        + "set the CA file that issued it (tls.ca_file)"
      : "the server's certificate is not trusted: it was not issued by the CA file; set the CA file that "
        + "issued it (tls.ca_file), with any intermediate certificates that the server omits"
  }

  /// The server rejected the client with an alert.
  private func refused(_ alert: String, _ now: Int) -> String? {
    let words = alert.lowercased().replacing("_", with: " ")
    guard let client else {
      // Servers use several alerts for a missing certificate.
      let missing = [
        "CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "NO_CERTIFICATE", "HANDSHAKE_FAILURE",
        "ACCESS_DENIED", "CERTIFICATE_UNKNOWN",
      ]
      guard missing.contains(where: { alert.hasSuffix($0) }) else { return nil }
      return "the server requires a client certificate; set tls.cert_file and "
        + "tls.key_file (\(words))"
    }
    if client.notAfter < now {
      return "our client certificate expired on \(SystemTime.text(client.notAfter)); renew it "
        + "(tls.cert_file)"
    }
    if client.notBefore > now {
      return "our client certificate is valid only from \(SystemTime.text(client.notBefore)) on; "
        + "compare the clocks of both machines (here it is \(SystemTime.text(now)))"
    }
    let certificate = ["CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "DECRYPT_ERROR"]
    guard certificate.contains(where: { alert.contains($0) }) else { return nil }
    return
      "the server rejects our client certificate (\(words)); it must be issued by an authority "
      + "in the server's ca_file, for use by clients"
  }
}

/// The wall clock.
enum SystemTime {
  /// Seconds since 1970.
  static var seconds: Int { Int(time(nil)) }

  /// `2026-11-28 13:20:00 UTC`
  static func text(_ seconds: Int) -> String {
    var clock = time_t(seconds)
    var parts = tm()
    guard gmtime_r(&clock, &parts) != nil else { return "\(seconds)" }
    func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
      + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) UTC"
  }
}
