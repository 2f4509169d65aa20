import Mapping

extension MongoURI {
  /// Something in a connection string that is legal and almost certainly unintended. Contains no values: they
  /// may be secret.
  package struct Doubt: Sendable, Equatable {
    package var message: String
    package var remedy: String
  }

  struct Option {
    /// As written.
    var name: Substring
    var value: Substring

    var key: String { name.lowercased() }
    var isOn: Bool { ["true", "t", "yes", "y", "1"].contains(value.lowercased()) }
  }

  /// Those of libmongoc, in the spelling of MongoDB's documentation.
  package static let optionNames = [
    "appName", "authMechanism", "authMechanismProperties", "authSource", "canonicalizeHostname",
    "compressors", "connectTimeoutMS", "directConnection", "gssapiServiceName",
    "heartbeatFrequencyMS", "journal", "loadBalanced", "localThresholdMS", "maxIdleTimeMS",
    "maxPoolSize", "maxStalenessSeconds", "minPoolSize", "readConcernLevel", "readPreference",
    "readPreferenceTags", "replicaSet", "retryReads", "retryWrites", "safe",
    "serverSelectionTimeoutMS", "serverSelectionTryOnce", "slaveOk", "socketCheckIntervalMS",
    "socketTimeoutMS", "srvMaxHosts", "srvServiceName", "ssl", "sslAllowInvalidCertificates",
    "sslAllowInvalidHostnames", "sslCertificateAuthorityFile", "sslClientCertificateKeyFile",
    "sslClientCertificateKeyPassword", "tls", "tlsAllowInvalidCertificates",
    "tlsAllowInvalidHostnames", "tlsCAFile", "tlsCertificateKeyFile",
    "tlsCertificateKeyFilePassword", "tlsDisableCertificateRevocationCheck",
    "tlsDisableOCSPEndpointCheck", "tlsInsecure", "w", "waitQueueMultiple", "waitQueueTimeoutMS",
    "wTimeoutMS", "zlibCompressionLevel",
  ]

  static func isKnown(_ option: Option) -> Bool {
    optionNames.contains { $0.lowercased() == option.key }
  }

  static func doubts(_ options: [Option]) -> [Doubt] {
    // An apparent option may be part of a password with a ? in it.
    let mayBePassword = options.contains { $0.value.contains("@") || $0.name.contains("@") }
    var doubts: [Doubt] = []
    var seen: [String: Substring] = [:]
    for option in options {
      if !isKnown(option) {
        doubts.append(unknown(option, mayBePassword: mayBePassword))
      } else if let doubt = contradiction(option) {
        doubts.append(doubt)
      }
      if let before = seen.updateValue(option.value, forKey: option.key), before != option.value,
        option.key != "readpreferencetags", isKnown(option)
      {
        doubts.append(
          Doubt(
            message: "the URI's option \(option.name) is there twice, with different values",
            remedy: "leave one of them out"))
      }
    }
    return doubts
  }

  private static func unknown(_ option: Option, mayBePassword: Bool) -> Doubt {
    guard !mayBePassword else {
      return Doubt(
        message:
          "the URI has an option that MongoDB's driver does not know, and it has an @ behind its ?",
        remedy: "percent-encode what is reserved in user and password: ? is %3F, @ is %40")
    }
    let meant = nearest(to: String(option.name), among: optionNames, most: 3)
    return Doubt(
      message:
        "the URI's option \(option.name) is none that MongoDB's driver knows, so it says nothing",
      remedy: meant.map { "did you mean \($0)?" } ?? "leave it out")
  }

  /// Options that the bridge can't use, or sets itself.
  private static func contradiction(_ option: Option) -> Doubt? {
    switch (option.key, option.value.lowercased()) {
    case ("readpreference", "secondary"):
      Doubt(
        message: "readPreference=secondary reads nothing while no secondary is up",
        remedy: "write readPreference=secondaryPreferred")
    case ("w", "0"):
      Doubt(
        message: "w=0 says nothing: the bridge only reads from MongoDB", remedy: "leave it out")
    case ("readconcernlevel", "local"), ("readconcernlevel", "available"),
      ("readconcernlevel", "linearizable"), ("readconcernlevel", "snapshot"):
      Doubt(
        message: "readConcernLevel=\(option.value) says nothing: source.read_concern does",
        remedy: "leave it out, or set source.read_concern")
    case ("loadbalanced", _) where option.isOn:
      Doubt(
        message:
          "loadBalanced=true is for a service of routers, and the bridge reads a replica set",
        remedy: "name the members of the replica set")
    default: nil
    }
  }
}
