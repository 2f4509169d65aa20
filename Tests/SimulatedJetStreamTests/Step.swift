import JSON

/// One message as it goes out. Its answers come to `<inbox>.<step>.<reply>`.
struct Line: CustomStringConvertible, Sendable {
  var subject: String
  /// Nil: no answer is wanted.
  var reply: String?
  var headers: [(String, String)] = []
  var payload: [UInt8] = []

  var headerBlock: [UInt8] {
    guard !headers.isEmpty else { return [] }
    return Array(("NATS/1.0\r\n" + headers.map { "\($0.0): \($0.1)\r\n" }.joined() + "\r\n").utf8)
  }

  var description: String {
    let headers = headers.map { "\($0.0): \($0.1)" }.joined(separator: ", ")
    let body =
      payload.count > 300 ? "\(payload.count) bytes" : String(decoding: payload, as: UTF8.self)
    return "\(subject) [\(headers)] \(body)" + (reply.map { " -> \($0)" } ?? "")
  }
}

/// A part of a sequence.
enum Step: CustomStringConvertible, Sendable {
  /// Each is answered before the next goes out.
  case send([Line])
  /// All in one write.
  case pipeline([Line])
  case wait(seconds: Double)
  case restart

  static func request(_ operation: String, _ body: JSONValue? = nil) -> Step {
    .send([Line(subject: "$JS.API.\(operation)", reply: "r", payload: body?.utf8 ?? [])])
  }

  var description: String {
    switch self {
    case .send(let lines): lines.map { "  \($0)" }.joined(separator: "\n")
    case .pipeline(let lines): "  at once:\n" + lines.map { "    \($0)" }.joined(separator: "\n")
    case .restart: "  restart"
    case .wait(let seconds): "  wait \(seconds) s"
    }
  }
}

/// An answer in a form that compares: where it came, its status and its content without times.
struct Heard: Equatable, CustomStringConvertible, Sendable {
  var reply: String
  var status: Int?
  var headers = ""
  var content: JSONValue?
  var payload = ""

  var description: String {
    "\(reply): "
      + [status.map { "status \($0)" }, headers.isEmpty ? nil : headers, content?.text(), payload]
      .compactMap { $0 }.joined(separator: " ")
  }

  /// From a message as it came.
  init(reply: String, status: Int?, headers: [UInt8], payload: [UInt8]) {
    self.reply = reply
    self.status = status
    self.headers = Self.comparable(headers, hasStatus: status != nil)
    if let json = try? JSONValue(parsing: payload), json.objectValue != nil {
      content = Self.comparable(json)
    } else {
      self.payload = String(decoding: payload, as: UTF8.self)
    }
  }

  private static func comparable(_ headers: [UInt8], hasStatus: Bool) -> String {
    guard !hasStatus else { return "" }
    return String(decoding: headers, as: UTF8.self).split(separator: "\r\n").dropFirst()
      .filter { !$0.hasPrefix("Nats-Time-Stamp:") }.joined(separator: "|")
  }

  /// Members in order, without times and what the model does not know.
  private static func comparable(_ json: JSONValue) -> JSONValue {
    guard case .object(var members) = json else { return json }
    let ignored: Set<String> = [
      "created", "ts", "first_ts", "last_ts", "time", "cluster", "domain", "total", "offset",
      "limit",
      "consumer_limits", "placement", "persist_mode",
    ]
    members.removeAll { ignored.contains($0.key) || $0.key.hasPrefix("_nats.") }
    members = members.map { .init($0.key, comparable($0.value)) }
    members.removeAll { $0.key == "metadata" && $0.value == .object([]) }
    // What the server can't parse it explains in its own words.
    if members.contains(where: { $0.key == "err_code" && $0.value == 10025 }) {
      members.removeAll { $0.key == "description" }
    }
    return .object(members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) })
  }
}
