import NATS
import Testing

@Suite("TLS failures")
struct TLSFailureTests {
  private static let now = 1_800_000_000
  private static let valid = CertificateDates(notBefore: now - 1000, notAfter: now + 1000)
  private static let past = CertificateDates(notBefore: now - 1000, notAfter: now - 10)
  private static let future = CertificateDates(notBefore: now + 10, notAfter: now + 1000)

  struct Case: Sendable, CustomTestStringConvertible {
    var failure: TLSFailure
    var words: [String]
    var testDescription: String { words.joined(separator: ", ") }

    init(
      _ reason: String, _ words: String..., server: CertificateDates? = nil,
      authorities: CertificateDates? = nil, client: CertificateDates? = nil
    ) {
      failure = TLSFailure(
        .reasons([reason]), server: server, authorities: authorities, client: client)
      self.words = words
    }
  }

  @Test(
    "the advice matches the failure",
    arguments: [
      Case("CERTIFICATE_VERIFY_FAILED", "server's certificate expired on 2027-01-15", server: past),
      Case("CERTIFICATE_VERIFY_FAILED", "valid only from", "clocks", server: future),
      Case(
        "CERTIFICATE_VERIFY_FAILED", "CA file's certificate expired", server: valid,
        authorities: past),
      Case(
        "CERTIFICATE_VERIFY_FAILED", "not issued by the CA file", server: valid, authorities: valid),
      Case("CERTIFICATE_VERIFY_FAILED", "system's authorities", "tls.ca_file", server: valid),
      Case("CERTIFICATE_VERIFY_FAILED", "system's authorities"),
      Case("TLSV1_ALERT_CERTIFICATE_REQUIRED", "requires a client certificate", "tls.cert_file"),
      Case("SSLV3_ALERT_BAD_CERTIFICATE", "requires a client certificate", "tls.cert_file"),
      Case("SSLV3_ALERT_HANDSHAKE_FAILURE", "requires a client certificate"),
      Case("SSLV3_ALERT_BAD_CERTIFICATE", "rejects our client certificate", client: valid),
      Case("TLSV1_ALERT_UNKNOWN_CA", "rejects our client certificate", "ca_file", client: valid),
      Case("SSLV3_ALERT_CERTIFICATE_EXPIRED", "our client certificate expired", client: past),
      Case("SSLV3_ALERT_BAD_CERTIFICATE", "our client certificate is valid only", client: future),
      Case("WRONG_VERSION_NUMBER", "handshake_first"),
      Case("TLSV1_ALERT_PROTOCOL_VERSION", "no TLS version"),
      Case("TLSV1_ALERT_INTERNAL_ERROR", "tlsv1 alert internal error"),
      Case("EXCESSIVE_MESSAGE_SIZE", "excessive message size"),
    ])
  func advice(of one: Case) {
    let error = one.failure.error(now: Self.now, early: true)
    #expect(error.code == .tlsFailed)
    for word in one.words { #expect(error.message.contains(word), "\(error.message)") }
  }

  @Test("only BoringSSL's reasons are kept, not its build paths")
  func reasons() {
    let text = """
      handshakeFailed(NIOSSL.BoringSSLError.sslError([Error: 268435581 error:1000007d:SSL routines:\
      OPENSSL_internal:CERTIFICATE_VERIFY_FAILED at /build/swift-nio-ssl/Sources/x/handshake.cc:393, \
      Error: 1 error:2:SSL routines:OPENSSL_internal:OTHER_1 at /build/y.cc:1]))
      """
    #expect(TLSFailure.reasons(in: text) == ["CERTIFICATE_VERIFY_FAILED", "OTHER_1"])
    #expect(TLSFailure.reasons(in: "odd at /build/y.cc:1") == ["odd at "])
    let unclean = TLSFailure(.unclean).error(now: Self.now, early: true)
    #expect(unclean.code == .connectionLost && unclean.message.contains("tls.cert_file"))
    let late = TLSFailure(.unclean).error(now: Self.now, early: false)
    #expect(!late.message.contains("tls.cert_file"))
  }
}
