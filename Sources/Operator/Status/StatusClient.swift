public import Bridge
public import BridgeConfiguration
public import JSON
import NIOCore
import NIOPosix

/// Asks a running bridge for its `/status`.
public struct StatusClient: Sendable {
  /// Where it is asked, and what says so.
  private let address: HTTPAddress
  private let key: String
  private let token: Secret?
  /// Whose answer is expected; nil: anybody's.
  private let bridge: String?

  /// At the configuration's `http.listen`.
  public init(_ configuration: BridgeConfiguration) throws(BridgeError) {
    let listen = configuration.http.listen
    key = "http.listen"
    guard listen.port > 0 else {
      throw .configuration(
        "http.listen has port 0, so the system chose one: give the bridge's address with --url (its log names it)"
      )
    }
    address = HTTPAddress(host: Self.reachable(listen.host), port: listen.port, path: "")
    token = configuration.http.token
    bridge = configuration.bridge.name
  }

  /// At another address, such as a forwarded port.
  ///
  /// - Parameter configuration: whose `http.token` is presented.
  public init(_ url: HTTPAddress, _ configuration: BridgeConfiguration?) {
    key = "--url"
    address = url
    token = configuration?.http.token
    bridge = nil
  }

  /// Who listens on all addresses can be reached by the machine's own.
  private static func reachable(_ host: String) -> String {
    switch host {
    case "0.0.0.0": "127.0.0.1"
    case "::": "::1"
    default: host
    }
  }

  private var place: String { "\(address) (\(key))" }

  /// The document.
  ///
  /// - Throws: `unavailable` where no bridge answers, `configuration` where it refuses the token or is another one.
  public func ask() async throws(BridgeError) -> JSONValue {
    var question = HTTPQuestion(host: address.authority, path: "\(address.path)/status", token: nil)
    do {
      question.token = try token?.current()
    } catch {
      throw .configuration("http.token: \(error)")
    }
    let answer: HTTPQuestion.Answer
    do {
      answer = try await NIOThreadPool.singleton.runIfActive { [question, address] in
        try question.ask(
          SocketAddress.makeAddressResolvingHost(address.host, port: address.port))
      }
    } catch let error as HTTPQuestion.Failure {
      throw .unavailable("no bridge answers at \(place): \(error)")
    } catch {
      throw .unavailable("no bridge answers at \(place): \(Self.words(error))")
    }
    return try judge(answer)
  }

  private static func words(_ error: any Error) -> String {
    if let error = error as? SocketAddressError, case .unknown(let host, _) = error {
      return "the name \(host) can't be resolved"
    }
    return "\(error)"
  }

  private func judge(_ answer: HTTPQuestion.Answer) throws(BridgeError) -> JSONValue {
    switch answer.status {
    case 200: break
    case 401:
      throw .configuration(
        token == nil
          ? "the bridge at \(place) demands a token: set http.token_file as in its configuration"
          : "the bridge at \(place) refuses the token of http.token: it has another one")
    default:
      throw .unavailable("\(place) answers with status \(answer.status) to /status")
    }
    guard let json = try? JSONValue(parsing: answer.body), json["instance"] != nil,
      let name = json["bridge"]?.stringValue
    else { throw .unavailable("what answers at \(place) is no bridge") }
    if let bridge, name != bridge {
      throw .configuration(
        "bridge \(name) answers at \(place), and the configuration is bridge \(bridge)'s: look who has that address, or give the right one with --url"
      )
    }
    return json
  }
}

/// `http://host:port`, with a path before `/status` where a proxy has one.
public struct HTTPAddress: Sendable, Equatable, CustomStringConvertible {
  public var host: String
  public var port: Int
  /// Empty, or with a slash before it and none at its end.
  public var path: String

  init(host: String, port: Int, path: String) {
    self.host = host
    self.port = port
    self.path = path
  }

  /// Nil for anything else.
  public init?(_ text: String) {
    guard text.hasPrefix("http://") else { return nil }
    let rest = text.dropFirst(7)
    let authority = rest.prefix { $0 != "/" }
    var path = String(rest[authority.endIndex...])
    while path.hasSuffix("/") { path.removeLast() }
    if path.hasSuffix("/status") { path.removeLast(7) }
    let isPlain = text.unicodeScalars.allSatisfy { $0.value > 0x20 && $0.value < 0x7F }
    guard isPlain, !text.contains("?"), !text.contains("#"), !text.contains("@") else {
      return nil
    }
    var host = String(authority)
    var port = 80
    if authority.hasPrefix("[") {
      guard let close = authority.firstIndex(of: "]") else { return nil }
      host = String(authority[authority.index(after: authority.startIndex)..<close])
      let end = authority[authority.index(after: close)...]
      if !end.isEmpty {
        guard end.hasPrefix(":"), let number = UInt16(end.dropFirst()) else { return nil }
        port = Int(number)
      }
    } else if let colon = authority.lastIndex(of: ":") {
      guard let number = UInt16(authority[authority.index(after: colon)...]) else { return nil }
      host = String(authority[..<colon])
      port = Int(number)
      guard !host.contains(":") else { return nil }
    }
    guard !host.isEmpty, port > 0 else { return nil }
    self.init(host: host, port: port, path: path)
  }

  var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
  public var description: String { "\(authority)\(path)" }
}
