internal import NIOCore
import NIOSSL

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Certificates and keys, loaded at every `connect`, so that renewed ones are used.
struct TLSMaterial: Sendable {
  private let context: NIOSSLContext
  private let serverName: String?
  /// The validity of the CA file's certificate that is valid longest; nil without a CA file.
  let authorities: CertificateDates?
  /// The validity of our own certificate; nil without one.
  let client: CertificateDates?

  /// Reads the files.
  ///
  /// - Throws: `badCredentials` naming the file.
  init(_ settings: NATSTLS) throws(NATSError) {
    serverName = settings.serverName
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.minimumTLSVersion = .tlsv12
    // A dead peer must not delay closing for long.
    configuration.shutdownTimeout = .seconds(1)
    switch settings.verify {
    case .full: configuration.certificateVerification = .fullVerification
    case .noHostname: configuration.certificateVerification = .noHostnameVerification
    case .none: configuration.certificateVerification = .none
    }
    if let file = settings.caFile {
      let trusted = try Self.certificates(file, "CA")
      configuration.trustRoots = .certificates(trusted)
      authorities = trusted.map { CertificateDates($0) }.max { $0.notAfter < $1.notAfter }
    } else {
      authorities = nil
    }
    switch (settings.certificateFile, settings.keyFile) {
    case (nil, nil): client = nil
    case (let certificate?, let key?):
      let chain = try Self.certificates(certificate, "certificate")
      configuration.certificateChain = chain.map { .certificate($0) }
      client = chain.first.map { CertificateDates($0) }
      let pem = try PEMFile.read(key, "private key")
      do {
        configuration.privateKey = .privateKey(try NIOSSLPrivateKey(bytes: pem, format: .pem))
      } catch {
        throw NATSError(
          .badCredentials, "the private key file \(key) has no usable key; expected PEM"
        )
      }
    default:
      throw NATSError(
        .badCredentials, "a client certificate needs both its certificate file and its key file")
    }
    do {
      context = try NIOSSLContext(configuration: configuration)
    } catch NIOSSLError.failedToLoadPrivateKey {
      throw NATSError(
        .badCredentials,
        "the private key cannot be used with the certificate: do tls.cert_file and tls.key_file match?"
      )
    } catch {
      throw NATSError(
        .badCredentials,
        "TLS cannot be set up: \(TLSFailure(error)?.words ?? "\(error)"); do certificate and key "
          + "match?")
    }
  }

  /// Encrypts one connection from now on. On the pipeline's event loop.
  func encrypt(
    _ pipeline: ChannelPipeline.SynchronousOperations, to address: NATSServerAddress
  ) throws {
    let name = serverName ?? address.tlsName ?? address.host
    let handler: NIOSSLClientHandler
    do {
      // Without a name, the certificate is verified against the address.
      handler = try NIOSSLClientHandler(
        context: context, serverHostname: NATSServerAddress.isIPAddress(name) ? nil : name)
    } catch {
      throw NATSError(.tlsFailed, "'\(name)' cannot be used as the server's TLS name: \(error)")
    }
    try pipeline.addHandler(handler, position: .first)
  }

  /// The validity of the server's certificate; nil: none was received. On the pipeline's event loop.
  static func serverCertificate(_ pipeline: ChannelPipeline.SynchronousOperations)
    -> CertificateDates?
  {
    (try? pipeline.nioSSL_peerCertificate()).map { CertificateDates($0) }
  }

  private static func certificates(_ file: String, _ what: String) throws(NATSError)
    -> [NIOSSLCertificate]
  {
    let pem = try PEMFile.read(file, what)
    guard let certificates = try? NIOSSLCertificate.fromPEMBytes(pem), !certificates.isEmpty
    else {
      throw NATSError(
        .badCredentials,
        "the \(what) file \(file) has no usable certificate; expected PEM")
    }
    return certificates
  }
}

/// Reads certificate and key files.
private enum PEMFile {
  static let limit = 4 << 20

  /// The bytes without a byte order mark, which PEM parsers reject.
  static func read(_ path: String, _ what: String) throws(NATSError) -> [UInt8] {
    func bad(_ why: String) -> NATSError {
      NATSError(.badCredentials, "the \(what) file \(path) can't be read: \(why)")
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw bad(String(cString: strerror(errno))) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    while true {
      let count = chunk.withUnsafeMutableBytes { readBytes(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw bad(String(cString: strerror(errno))) }
      if count == 0 { break }
      bytes.append(contentsOf: chunk[..<count])
      guard bytes.count <= limit else { throw bad("it is larger than 4 MiB") }
    }
    return bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes
  }
}

/// The C function, whose name `PEMFile.read` hides.
private func readBytes(_ descriptor: Int32, _ buffer: UnsafeMutableRawPointer?, _ count: Int)
  -> Int
{
  read(descriptor, buffer, count)
}

extension CertificateDates {
  init(_ certificate: NIOSSLCertificate) {
    self.init(
      notBefore: Int(certificate.notValidBefore), notAfter: Int(certificate.notValidAfter))
  }
}

extension TLSFailure {
  /// Nil if it isn't a TLS error.
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
}
