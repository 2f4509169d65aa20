/// An error in an address; the configuration adds its position.
struct AddressError: Error {
  var message: String
  var remedy: String

  init(_ message: String, remedy: String) {
    self.message = message
    self.remedy = remedy
  }
}

/// A MongoDB connection string. It may hold a password: printing shows it redacted.
public struct MongoURI: Sendable, Equatable, CustomStringConvertible, CustomReflectable {
  private let text: Secret
  /// `host:port` each, as written.
  public let hosts: [String]
  /// The option `replicaSet`.
  public let replicaSet: String?
  /// The connection string without password and secret options.
  public let description: String
  /// What in it is almost certainly unintended.
  package let doubts: [Doubt]

  /// The whole connection string, for libmongoc alone.
  public func reveal() -> String { text.reveal() }

  /// The file it came from, if any.
  public var file: String? { text.file }

  /// The connection string that its file contains now.
  public func current() throws(SecretFileError) -> String { try text.current() }

  public var customMirror: Mirror { Mirror(self, children: ["uri": description]) }

  /// Options that are true or false, by their names in lower case.
  private static let switches: Set<String> = [
    "tls", "ssl", "tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames",
    "tlsdisablecertificaterevocationcheck", "tlsdisableocspendpointcheck", "retryreads",
    "retrywrites",
    "directconnection", "loadbalanced", "journal", "serverselectiontryonce", "safe",
    "canonicalizehostname",
  ]

  /// As libmongoc parses them.
  private static func isSwitch(_ value: Substring) -> Bool {
    ["true", "t", "yes", "y", "1", "false", "f", "no", "n", "0", "-1"].contains(value.lowercased())
  }

  init(parsing text: String, file: String? = nil) throws(AddressError) {
    let example = "write mongodb://host:27017/?replicaSet=rs0"
    guard let scheme = ["mongodb://", "mongodb+srv://"].first(where: { text.hasPrefix($0) }) else {
      throw AddressError("a MongoDB URI starts with mongodb:// or mongodb+srv://", remedy: example)
    }
    let rest = text.dropFirst(scheme.count)
    let question = rest.firstIndex(of: "?") ?? rest.endIndex
    let at = rest[..<question].lastIndex(of: "@")
    let user = at.map { rest[..<$0] }
    let behind = at.map { rest[rest.index(after: $0)..<question] } ?? rest[..<question]
    let hostList = behind.prefix { $0 != "/" }
    let path = behind.dropFirst(hostList.count)
    let options = rest[question...].dropFirst()

    if let user {
      let colons = user.filter { $0 == ":" }.count
      guard colons <= 1, !user.contains("@"), !user.contains("/") else {
        throw AddressError(
          "the URI's user or password holds a reserved character",
          remedy: "percent-encode it: : is %3A, / is %2F, @ is %40")
      }
    }
    guard user != nil || !options.contains("@") else {
      throw AddressError(
        "the URI's user or password holds a reserved character",
        remedy: "percent-encode it: ? is %3F")
    }
    guard !hostList.isEmpty else { throw AddressError("the URI names no host", remedy: example) }
    let hosts = hostList.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    for host in hosts {
      guard let (name, port) = splitHostPort(host), !name.isEmpty, !name.contains("/"),
        port.map({ UInt16($0).map { $0 > 0 } ?? false }) ?? true
      else {
        // An apparent host may be a user's name and password, so it isn't shown.
        throw AddressError(
          "the URI's \(hosts.count > 1 ? "hosts are not host or host:port each" : "host is not host or host:port")",
          remedy: text.contains("@")
            ? example : "\(example); a user and password are followed by @ and the host")
      }
    }
    var replicaSet: String? = nil
    var shownOptions: [String] = []
    var given: [Option] = []
    for option in options.split(whereSeparator: { $0 == "&" || $0 == ";" }) {
      guard let equals = option.firstIndex(of: "="), equals != option.startIndex else {
        throw AddressError(
          "the URI has an option without a value", remedy: "write options as name=value")
      }
      let name = option[..<equals]
      let value = option[option.index(after: equals)...]
      if name.lowercased() == "replicaset" { replicaSet = String(value) }
      guard !Self.switches.contains(name.lowercased()) || Self.isSwitch(value) else {
        throw AddressError(
          "the URI's option \(name) is neither true nor false",
          remedy: "write \(name)=true or false")
      }
      let secret = [
        "authmechanismproperties", "tlscertificatekeyfilepassword",
        "sslclientcertificatekeypassword",
      ]
      let one = Option(name: name, value: value)
      given.append(one)
      // A misspelt one may be secret.
      if !Self.isKnown(one), option.contains("@") {
        shownOptions.append("***")
      } else {
        let isShown = Self.isKnown(one) && !secret.contains(one.key)
        shownOptions.append(isShown ? String(option) : "\(name)=***")
      }
      if one.key == "directconnection", one.isOn, hosts.count > 1 || scheme == "mongodb+srv://" {
        throw AddressError(
          "directConnection=true takes one host",
          remedy: "leave it out, so that all members are used")
      }
    }
    doubts = Self.doubts(given)
    self.text = Secret(text, file: file)
    self.hosts = hosts
    self.replicaSet = replicaSet
    let shownUser = user.map { user in
      user.contains(":") ? "\(user.prefix { $0 != ":" }):***@" : "\(user)@"
    }
    description =
      scheme + (shownUser ?? "") + hostList + path
      + (shownOptions.isEmpty ? "" : "?" + shownOptions.joined(separator: "&"))
  }
}

/// A NATS server's address, `nats://host:4222`. Its user part may be secret: printing leaves it out.
public struct NATSServer: Sendable, Equatable, CustomStringConvertible {
  public let host: String
  public let port: Int
  /// The scheme is `tls`: no connection without TLS.
  public let requiresTLS: Bool
  /// From `nats://user:password@host`.
  public let user: String?
  public let password: Secret?
  /// From `nats://token@host`.
  public let token: Secret?

  public var description: String {
    let name = host.contains(":") ? "[\(host)]" : host
    return "\(requiresTLS ? "tls" : "nats")://\(name):\(port)"
  }

  /// Schemes that messages show. Anything else may be a part of a password.
  private static let familiar = [
    "amqp", "amqps", "ftp", "http", "https", "mongodb", "mqtt", "redis", "tcp", "ws", "wss",
  ]

  init(parsing text: String) throws(AddressError) {
    let example = "write nats://host:4222 or tls://host:4222"
    var rest = text[...]
    var requiresTLS = false
    if let scheme = text.range(ofScheme: "://") {
      switch text[..<scheme.lowerBound].lowercased() {
      case "nats": break
      case "tls": requiresTLS = true
      default:
        throw AddressError(
          Self.familiar.contains(text[..<scheme.lowerBound].lowercased())
            ? "a NATS server can't be reached by \(text[..<scheme.lowerBound])://"
            : "a NATS server's address begins with nats:// or tls://", remedy: example)
      }
      rest = text[scheme.upperBound...]
    }
    if rest.hasSuffix("/") { rest = rest.dropLast() }
    var user: String? = nil
    var password: Secret? = nil
    var token: Secret? = nil
    if let at = rest.lastIndex(of: "@") {
      let info = rest[..<at]
      rest = rest[rest.index(after: at)...]
      if let colon = info.firstIndex(of: ":") {
        guard let name = percentDecoded(info[..<colon]),
          let secret = percentDecoded(info[info.index(after: colon)...])
        else {
          throw AddressError(
            "the server's user or password holds a bare %", remedy: "percent-encode it: % is %25")
        }
        user = name
        password = Secret(secret)
      } else {
        guard let secret = percentDecoded(info) else {
          throw AddressError(
            "the server's token holds a bare %", remedy: "percent-encode it: % is %25")
        }
        token = Secret(secret)
      }
    }
    guard let (host, port) = splitHostPort(String(rest)), !host.isEmpty, !host.contains("/"),
      !host.contains(where: \.isWhitespace)
    else { throw AddressError("this is not the address of a NATS server", remedy: example) }
    if let port {
      guard let number = UInt16(port), number > 0 else {
        throw AddressError(
          "the server's port is not a number", remedy: "use a port from 1 to 65535")
      }
      self.port = Int(number)
    } else {
      self.port = 4222
    }
    self.host = host
    self.requiresTLS = requiresTLS
    self.user = user
    self.password = password
    self.token = token
  }
}

/// Where the HTTP endpoint listens.
public struct ListenAddress: Sendable, Equatable, CustomStringConvertible {
  public let host: String
  /// 0 lets the system choose.
  public let port: Int

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  init(parsing text: String) throws(AddressError) {
    guard let (host, port) = splitHostPort(text), let port, let number = UInt16(port),
      !host.contains(where: \.isWhitespace), !host.contains("/")
    else {
      throw AddressError(
        "\"\(text)\" is not an address to listen on",
        remedy: "write host:port, such as 127.0.0.1:8080"
      )
    }
    self.host = host.isEmpty ? "0.0.0.0" : host
    self.port = Int(number)
  }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; nil for any other form.
private func splitHostPort(_ text: String) -> (host: String, port: String?)? {
  if text.hasPrefix("[") {
    guard let close = text.firstIndex(of: "]") else { return nil }
    let host = String(text[text.index(after: text.startIndex)..<close])
    let rest = text[text.index(after: close)...]
    if rest.isEmpty { return (host, nil) }
    return rest.hasPrefix(":") ? (host, String(rest.dropFirst())) : nil
  }
  let parts = text.split(separator: ":", omittingEmptySubsequences: false)
  switch parts.count {
  case 1: return (text, nil)
  case 2: return (String(parts[0]), String(parts[1]))
  default: return nil
  }
}

private func percentDecoded(_ text: Substring) -> String? {
  var bytes: [UInt8] = []
  var rest = text.utf8
  while let byte = rest.popFirst() {
    guard byte == UInt8(ascii: "%") else {
      bytes.append(byte)
      continue
    }
    guard let high = rest.popFirst(), let low = rest.popFirst(),
      let h = Character(Unicode.Scalar(high)).hexDigitValue,
      let l = Character(Unicode.Scalar(low)).hexDigitValue
    else { return nil }
    bytes.append(UInt8(h << 4 | l))
  }
  return String(validating: bytes, as: UTF8.self)
}

extension String {
  /// The separator behind a URI's scheme.
  fileprivate func range(ofScheme separator: String) -> Range<Index>? {
    guard let start = indices.first(where: { self[$0...].hasPrefix(separator) }) else { return nil }
    return start..<index(start, offsetBy: separator.count)
  }
}
