internal import NIOCore

/// Instead of `TLSMaterial.swift` in the build for a first demo (Package.swift): its servers are on this machine, and
/// BoringSSL takes minutes to compile.
struct TLSMaterial: Sendable {
  var authorities: CertificateDates? { nil }
  var client: CertificateDates? { nil }

  /// - Throws: always `tlsFailed`.
  init(_ settings: NATSTLS) throws(NATSError) {
    throw NATSError(
      .tlsFailed, "this program was built for a demo, without TLS; build it with `make build`")
  }

  func encrypt(
    _ pipeline: ChannelPipeline.SynchronousOperations, to address: NATSServerAddress
  ) throws {}

  static func serverCertificate(_ pipeline: ChannelPipeline.SynchronousOperations)
    -> CertificateDates?
  { nil }
}

extension TLSFailure {
  init?(_ error: any Error) { return nil }
}
