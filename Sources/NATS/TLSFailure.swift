import NIOSSL

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Between which times a certificate is valid, in seconds since 1970.
package struct CertificateDates: Sendable, Equatable {
  package var notBefore: Int
  package var notAfter: Int

  package init(notBefore: Int, notAfter: Int) {
    self.notBefore = notBefore
    self.notAfter = notAfter
  }

  init(_ certificate: NIOSSLCertificate) {
    notBefore = Int(certificate.notValidBefore)
    notAfter = Int(certificate.notValidAfter)
  }
}

/// Why TLS did not come about, and the advice that fits: a pure value.
///
/// BoringSSL says in its own words what failed (`CERTIFICATE_VERIFY_FAILED`), with the files it was
/// compiled from around them; only the words are kept. Why a certificate was refused it does not
/// say: that is told by the certificates' dates.
package struct TLSFailure: Sendable, Equatable {
  package enum Kind: Sendable, Equatable {
    /// The certificate is for another name; the text names the one that was expected.
    case wrongName(String)
    /// The server ended the connection in the midst of the handshake.
    case ended
    /// The server went away without closing the TLS session.
    case unclean
    /// BoringSSL's reasons.
    case reasons([String])
  }

  package var kind: Kind
  /// The server's certificate, where it came that far.
  package var server: CertificateDates?
  /// What the CA file holds; nil without one.
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

  /// Nil for what is no error of TLS.
  init?(_ error: any Error) {
    switch error {
    case NIOSSLError.uncleanShutdown: self.init(.unclean)
    case let error as NIOSSLExtraError where error == .failedToValidateHostname:
      self.init(.wrongName("\(error)"))
    case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError:
      let text = String(describing: error)
      self.init(text.contains("EOF during") ? .ended : .reasons(Self.reasons(in: text)))
    default: return nil
    }
  }

  /// The words behind `OPENSSL_internal:`; else the whole, up to what may be a path.
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
    case .ended: "the server ended the connection during the TLS handshake"
    case .unclean: "the server went away without closing the TLS session"
    case .reasons(let reasons):
      reasons.map { $0.lowercased().replacing("_", with: " ") }.joined(separator: ", ")
    }
  }

  /// - Parameters:
  ///   - now: seconds since 1970.
  ///   - early: the server has not accepted us yet.
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
          + "for, or have one issued that names this address")
    case .reasons(let reasons):
      for reason in reasons {
        if let advice = advice(reason, now) { return NATSError(.tlsFailed, advice) }
      }
      return NATSError(.tlsFailed, "the TLS handshake failed: \(words)")
    }
  }

  private static let wantsCertificate =
    "; it may want a client certificate: set tls.cert_file and tls.key_file"

  private func advice(_ reason: String, _ now: Int) -> String? {
    switch reason {
    case "CERTIFICATE_VERIFY_FAILED": return untrusted(now)
    case "WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST":
      return """
        the server does not begin with TLS; switch handshake_first off here, or on in the server
        """
    case "UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "NO_SHARED_CIPHER",
      "TLSV1_ALERT_INSUFFICIENT_SECURITY":
      return "client and server have no TLS version or cipher in common; TLS 1.2 is the least"
    case "TLSV1_ALERT_UNRECOGNIZED_NAME", "TLSV1_UNRECOGNIZED_NAME":
      return "the server has no certificate for this name; connect by a name that it serves"
    default: return reason.contains("ALERT") ? refused(reason, now) : nil
    }
  }

  /// The server's certificate did not pass.
  private func untrusted(_ now: Int) -> String {
    if let server, server.notAfter < now {
      return
        "the server's certificate expired on \(SystemTime.text(server.notAfter)); renew it there"
    }
    if let server, server.notBefore > now {
      return "the server's certificate is valid only from \(SystemTime.text(server.notBefore)) on; "
        + "compare the clocks of both machines (here it is \(SystemTime.text(now)))"
    }
    if let authorities, authorities.notAfter < now {
      return "the CA file's certificate expired on \(SystemTime.text(authorities.notAfter)); "
        + "set tls.ca_file to the present one"
    }
    return authorities == nil
      ? "the system's authorities have not issued the server's certificate, so it is not trusted; "
        + "set the CA file it was issued by (tls.ca_file)"
      : "the CA file has not issued the server's certificate, so it is not trusted; set the CA file "
        + "it was issued by (tls.ca_file), with the intermediate ones that the server leaves out"
  }

  /// The server did not accept us, and said so.
  private func refused(_ alert: String, _ now: Int) -> String? {
    let words = alert.lowercased().replacing("_", with: " ")
    guard let client else {
      // Servers use several alerts for a certificate that is missing.
      let missing = [
        "CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "NO_CERTIFICATE", "HANDSHAKE_FAILURE",
        "ACCESS_DENIED", "CERTIFICATE_UNKNOWN",
      ]
      guard missing.contains(where: { alert.hasSuffix($0) }) else { return nil }
      return "the server wants a client certificate and got none; set tls.cert_file and "
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
      "the server refuses our client certificate (\(words)); it must be issued by an authority "
      + "that the server's ca_file names, and be meant for clients"
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
