internal import CMongoC

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// A parsed connection string with this program's defaults.
///
/// Owns `pointer`: created in `init`, freed in `deinit`. Not shared between threads.
final class MongoURI {
  let pointer: OpaquePointer
  let redaction: Redaction
  /// `host:port` of each address; empty if DNS provides them (SRV).
  let hosts: [String]
  /// The connection string demands the primary.
  let primaryOnly: Bool
  let encryption: MongoAdvice.Encryption
  /// `awaitTime`, shortened to fit the connection string's socket timeout.
  let awaitTime: Duration

  init(_ options: MongoSourceOptions, replyTimeout: Duration) throws(MongoError) {
    MongoLibrary.start()
    let text = try options.presentURI?() ?? options.uri
    let mayChange = options.presentURI != nil
    var error = bson_error_t()
    guard let uri = mongoc_uri_new_with_error(text, &error) else {
      // The error may quote an invalid option, which may be part of a password.
      var failure = MongoError(
        error, place: "connection string", redaction: Redaction(secrets: Self.optionValues(text)))
      failure.domain = .configuration
      failure.isTransient = mayChange
      throw failure
    }
    // libmongoc treats everything after the first @ as a host, and quotes it in its errors.
    hosts = Self.hosts(of: uri)
    if hosts.contains(where: { $0.contains("@") }) {
      mongoc_uri_destroy(uri)
      throw MongoError(
        domain: .configuration, message: "an @ in the user name or password must be written as %40",
        place: "connection string", isTransient: mayChange)
    }
    do {
      encryption = try Self.encryption(of: uri)
    } catch {
      mongoc_uri_destroy(uri)
      throw error
    }
    pointer = uri
    redaction = Redaction(secrets: Self.secrets(of: uri, text: text))

    // libmongoc doesn't distinguish a missing read preference from `primary`; the text does.
    let namesPreference = text.lowercased().contains("readpreference=")
    let preference = mongoc_uri_get_read_prefs_t(uri)
    let isPrimary = mongoc_read_prefs_get_mode(preference) == MONGOC_READ_PRIMARY
    primaryOnly = namesPreference && isPrimary
    if isPrimary && !namesPreference {
      // A majority read from a secondary is equally safe, and works during an election.
      let primaryPreferred = mongoc_read_prefs_new(MONGOC_READ_PRIMARY_PREFERRED)
      mongoc_uri_set_read_prefs_t(uri, primaryPreferred)
      mongoc_read_prefs_destroy(primaryPreferred)
    }

    if mongoc_uri_get_appname(uri) == nil {
      mongoc_uri_set_appname(uri, options.applicationName)
    }
    let connect = options.connectTimeout.milliseconds
    Self.setDefault(uri, MONGOC_URI_CONNECTTIMEOUTMS, connect)
    // One scan of the members per attempt: libmongoc would wait five seconds before it contacts a
    // failed member again; a new client does so at once. The caller retries.
    Self.setDefault(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, connect)
    Self.setDefault(uri, MONGOC_URI_HEARTBEATFREQUENCYMS, 5_000)

    let silence = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, 0)
    if silence <= 0 {
      // Always limited: a suspended server keeps its connections open.
      let limit = (options.awaitTime + replyTimeout).milliseconds
      mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, limit)
      awaitTime = options.awaitTime
    } else {
      awaitTime = min(options.awaitTime, .milliseconds(max(silence / 2, 1)))
    }
  }

  deinit { mongoc_uri_destroy(pointer) }

  private static func setDefault(_ uri: OpaquePointer, _ option: String, _ value: Int32) {
    if !mongoc_uri_has_option(uri, option) {
      mongoc_uri_set_option_as_int32(uri, option, value)
    }
  }

  /// - Throws: `configuration` if a file with certificates can't be read; libmongoc would say only that the
  ///   connection failed.
  private static func encryption(of uri: OpaquePointer) throws(MongoError)
    -> MongoAdvice.Encryption
  {
    guard mongoc_uri_get_tls(uri) else { return .none }
    var encryption = MongoAdvice.Encryption.server
    for option in ["tlsCAFile", "tlsCertificateKeyFile"] {
      guard let text = mongoc_uri_get_option_as_utf8(uri, option, nil) else { continue }
      let path = String(cString: text)
      guard access(path, R_OK) == 0 else {
        let reason = String(cString: strerror(errno))
        throw MongoError(
          domain: .configuration, message: "\(option) \(path) can't be read: \(reason)",
          place: "connection string", isTransient: false)
      }
      if option == "tlsCertificateKeyFile" { encryption = .mutual }
    }
    return encryption
  }

  private static func hosts(of uri: OpaquePointer) -> [String] {
    var hosts: [String] = []
    var next = mongoc_uri_get_hosts(uri)
    while let entry = next {
      // A NUL-terminated C array.
      let host = withUnsafeBytes(of: entry.pointee.host_and_port) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      hosts.append(host)
      next = UnsafePointer(entry.pointee.next)
    }
    return hosts
  }

  /// The values of all options.
  private static func optionValues(_ text: String) -> [String] {
    text.drop { $0 != "?" }.split { "?&;".contains($0) }.map {
      String($0.drop { $0 != "=" }.dropFirst())
    }
  }

  /// The password as decoded by libmongoc and as written.
  private static func secrets(of uri: OpaquePointer, text: String) -> [String] {
    guard let password = mongoc_uri_get_password(uri) else { return [] }
    var found = [String(cString: password)]
    if let scheme = text.firstRange(of: "://"),
      let at = text[scheme.upperBound...].firstIndex(of: "@"),
      let colon = text[scheme.upperBound..<at].firstIndex(of: ":")
    {
      found.append(String(text[text.index(after: colon)..<at]))
    }
    return found
  }
}
