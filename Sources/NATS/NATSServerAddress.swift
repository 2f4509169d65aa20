internal import NIOCore

/// A server address: `nats://host:port`, `tls://host:port` or `host:port`.
///
/// May have user and password (or a token, without a colon) before an `@`, percent-encoded if needed.
/// Descriptions omit them.
public struct NATSServerAddress: Sendable, Hashable, CustomStringConvertible,
  CustomDebugStringConvertible, CustomReflectable
{
  public static let defaultPort = 4222

  public var host: String
  public var port: Int
  /// Whether the connection must be encrypted, even if the server doesn't require it.
  public var tls: Bool
  public var user: String?
  public var password: String?
  /// The expected name in the server's certificate, if `host` is an announced IP address that isn't in it.
  public var tlsName: String?

  public init(host: String, port: Int = NATSServerAddress.defaultPort, tls: Bool = false) {
    self.host = host
    self.port = port
    self.tls = tls
  }

  /// - Throws: `badURL`, with the expected form.
  public init(url: String) throws(NATSError) {
    var rest = Substring(url)
    self.tls = false
    if let scheme = url.firstRange(of: "://") {
      switch url[..<scheme.lowerBound].lowercased() {
      case "nats": break
      case "tls": self.tls = true
      default:
        throw Self.bad(url, "the scheme must be nats:// or tls://")
      }
      rest = url[scheme.upperBound...]
    }
    if rest.last == "/" { rest.removeLast() }
    if let at = rest.lastIndex(of: "@") {
      let userinfo = rest[..<at]
      rest = rest[rest.index(after: at)...]
      let colon = userinfo.firstIndex(of: ":") ?? userinfo.endIndex
      guard let user = percentDecoded(userinfo[..<colon]),
        let password = percentDecoded(userinfo[colon...].dropFirst())
      else { throw Self.bad(url, "the user or password has an invalid percent escape") }
      self.user = user
      self.password = colon == userinfo.endIndex ? nil : password
    }
    let portText: Substring
    if rest.first == "[" {
      guard let end = rest.firstIndex(of: "]") else {
        throw Self.bad(url, "the IPv6 address has no closing bracket")
      }
      self.host = String(rest[rest.index(after: rest.startIndex)..<end])
      portText = rest[rest.index(after: end)...]
      guard host.contains(":"), host.utf8.allSatisfy(isIPv6Byte) else {
        throw Self.bad(url, "brackets are for IPv6 addresses")
      }
    } else {
      let colon = rest.firstIndex(of: ":") ?? rest.endIndex
      self.host = String(rest[..<colon])
      portText = rest[colon...]
      guard !host.isEmpty, host.utf8.allSatisfy(isHostByte) else {
        throw Self.bad(url, "expected nats://host:port")
      }
    }
    if portText.isEmpty {
      self.port = Self.defaultPort
    } else {
      let digits = portText.dropFirst()
      guard portText.first == ":", digits.utf8.allSatisfy({ (48...57).contains($0) }),
        let port = Int(digits), (1...65535).contains(port)
      else { throw Self.bad(url, "the port must be a number from 1 to 65535") }
      self.port = port
    }
  }

  /// `host:port`, as in the server's `connect_urls`.
  public var endpoint: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  public var description: String { "\(tls ? "tls" : "nats")://\(endpoint)" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: ["url": description]) }

  private static func bad(_ url: String, _ what: String) -> NATSError {
    // Everything before an @ may be secret.
    let shown = url.lastIndex(of: "@").map { "…" + url[$0...] } ?? url
    return NATSError(.badURL, "'\(shown)' is not a server address: \(what)")
  }
}

private func isHostByte(_ c: UInt8) -> Bool {
  isAlphanumeric(c) || c == UInt8(ascii: "-") || c == UInt8(ascii: ".") || c == UInt8(ascii: "_")
}

private func isIPv6Byte(_ c: UInt8) -> Bool {
  isHostByte(c) || c == UInt8(ascii: ":") || c == UInt8(ascii: "%")
}

private func isAlphanumeric(_ c: UInt8) -> Bool {
  (48...57).contains(c) || (65...90).contains(c) || (97...122).contains(c)
}

/// Nil if an escape is invalid or the result is not UTF-8.
private func percentDecoded(_ text: Substring) -> String? {
  var bytes: [UInt8] = []
  var rest = text.utf8[...]
  while let c = rest.popFirst() {
    guard c == UInt8(ascii: "%") else {
      bytes.append(c)
      continue
    }
    guard let high = rest.popFirst().flatMap(hexDigit), let low = rest.popFirst().flatMap(hexDigit)
    else { return nil }
    bytes.append(high << 4 | low)
  }
  return String(validating: bytes, as: UTF8.self)
}

private func hexDigit(_ c: UInt8) -> UInt8? {
  switch c {
  case 48...57: c - 48
  case 65...70: c - 55
  case 97...102: c - 87
  default: nil
  }
}

extension NATSServerAddress {
  static func isIPAddress(_ host: String) -> Bool {
    (try? SocketAddress(ipAddress: host, port: 0)) != nil
  }
}
