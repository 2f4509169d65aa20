internal import NIOCore
import NIOSSL

/// Certificates and keys, loaded once per `connect`.
struct TLSMaterial: Sendable {
  private let context: NIOSSLContext
  private let serverName: String?

  /// Reads the files.
  ///
  /// - Throws: `badCredentials` naming the file.
  init(_ settings: NATSTLS) throws(NATSError) {
    serverName = settings.serverName
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.minimumTLSVersion = .tlsv12
    // A dead peer must not hold up closing for long.
    configuration.shutdownTimeout = .seconds(1)
    switch settings.verify {
    case .full: configuration.certificateVerification = .fullVerification
    case .noHostname: configuration.certificateVerification = .noHostnameVerification
    case .none: configuration.certificateVerification = .none
    }
    if let file = settings.caFile {
      configuration.trustRoots = .certificates(try Self.certificates(file, "authorities"))
    }
    switch (settings.certificateFile, settings.keyFile) {
    case (nil, nil): break
    case (let certificate?, let key?):
      configuration.certificateChain = try Self.certificates(certificate, "certificate")
        .map { .certificate($0) }
      do {
        configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: key, format: .pem))
      } catch {
        throw NATSError(
          .badCredentials, "the private key \(key) cannot be used: \(error); expected PEM")
      }
    default:
      throw NATSError(
        .badCredentials, "a client certificate needs both its certificate file and its key file")
    }
    do {
      context = try NIOSSLContext(configuration: configuration)
    } catch {
      throw NATSError(
        .badCredentials, "TLS cannot be set up: \(error); do certificate and key belong together?")
    }
  }

  /// The handler that encrypts one connection.
  func handler(for address: NATSServerAddress) throws(NATSError) -> NIOSSLClientHandler {
    let name = serverName ?? address.tlsName ?? address.host
    do {
      // Without a name, the certificate is checked against the address connected to.
      return try NIOSSLClientHandler(
        context: context, serverHostname: NATSServerAddress.isIPAddress(name) ? nil : name)
    } catch {
      throw NATSError(.tlsFailed, "'\(name)' cannot be used as the server's TLS name: \(error)")
    }
  }

  private static func certificates(_ file: String, _ what: String) throws(NATSError)
    -> [NIOSSLCertificate]
  {
    let certificates: [NIOSSLCertificate]
    do {
      certificates = try NIOSSLCertificate.fromPEMFile(file)
    } catch {
      throw NATSError(
        .badCredentials, "the \(what) file \(file) cannot be used: \(error); expected PEM")
    }
    guard !certificates.isEmpty else {
      throw NATSError(.badCredentials, "the \(what) file \(file) holds no certificate")
    }
    return certificates
  }
}

extension NATSServerAddress {
  static func isIPAddress(_ host: String) -> Bool {
    (try? SocketAddress(ipAddress: host, port: 0)) != nil
  }
}

/// Errors of the layers below, in our words.
enum TransportError {
  static func translate(_ error: any Error, connecting: Bool) -> NATSError {
    switch error {
    case let error as NATSError: return error
    case NIOSSLError.uncleanShutdown:
      return NATSError(.connectionLost, "the server went away without closing the TLS session")
    case let error as NIOSSLExtraError where error == .failedToValidateHostname:
      return NATSError(
        .tlsFailed,
        "the server's certificate is for another name (\(error)); connect by the name it "
          + "was issued for, or set the TLS server name")
    case let error as NIOSSLError:
      let text = String(describing: error)
      if text.contains("CERTIFICATE_VERIFY_FAILED") {
        return NATSError(
          .tlsFailed,
          "the server's certificate is not trusted; set the CA file it was issued by (\(text))")
      }
      if text.contains("WRONG_VERSION_NUMBER") {
        return NATSError(
          .tlsFailed,
          "the server does not begin with TLS; switch off handshake_first, or on in the server")
      }
      return NATSError(.tlsFailed, "the TLS handshake failed: \(text)")
    case is NIOSSLExtraError, is BoringSSLError:
      let text = String(describing: error)
      if text.contains("CERTIFICATE") {
        return NATSError(
          .tlsFailed,
          "the server refuses our certificate, or wants one and got none (\(text)); "
            + "set certificate and key files")
      }
      return NATSError(.tlsFailed, "TLS failed: \(text)")
    case ChannelError.connectTimeout:
      return NATSError(.timeout, "the server cannot be reached in time")
    default:
      return NATSError(
        connecting ? .connectFailed : .connectionLost,
        connecting
          ? "the server cannot be reached: \(error)" : "the connection broke: \(error)")
    }
  }
}
