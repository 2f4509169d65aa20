import JSON
import TestServers

/// A protocol operation of a server, in a form that compares: without times, ids and names that it chose.
struct Frame: Equatable, Sendable, CustomStringConvertible {
  enum Kind: String, Sendable { case info, pong, ok, error, message }
  var kind: Kind
  var sid = ""
  var subject = ""
  var reply = ""
  var headers = ""
  /// As it came.
  var payload = ""
  var content: JSONValue?

  var description: String {
    switch kind {
    case .message:
      "\(sid) \(subject)" + (reply.isEmpty ? "" : " (reply \(reply))")
        + (headers.isEmpty ? "" : " [\(headers)]") + " \(content?.text() ?? payload)"
    default: "\(kind.rawValue) \(content?.text() ?? payload)"
    }
  }
}

/// Takes frames from the bytes of one connection.
struct FrameReader {
  private var bytes: [UInt8] = []

  mutating func append(_ more: some Sequence<UInt8>) { bytes.append(contentsOf: more) }

  /// All that are complete. (PINGs are left out.)
  mutating func frames() throws -> [Frame] {
    var all: [Frame] = []
    while let newline = bytes.firstIndex(of: 0x0A) {
      let line = String(decoding: bytes[..<newline], as: UTF8.self)
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\r" || $0 == "\r\n" })
        .map(String.init)
      guard let name = words.first else { throw TestFailure("an empty line") }
      var end = newline + 1
      switch name {
      case "PING": break
      case "PONG": all.append(Frame(kind: .pong))
      case "+OK": all.append(Frame(kind: .ok))
      case "-ERR":
        all.append(Frame(kind: .error, payload: words.dropFirst().joined(separator: " ")))
      case "INFO":
        let json = try JSONValue(parsing: bytes[5..<newline])
        all.append(Frame(kind: .info, content: Self.comparable(info: json)))
      case "MSG", "HMSG":
        guard let size = words.last.flatMap({ Int($0) }) else { throw TestFailure(line) }
        guard bytes.count >= end + size + 2 else { return all }
        let hasHeaders = name == "HMSG"
        let headers = hasHeaders ? Int(words[words.count - 2]) ?? 0 : 0
        let hasReply = words.count == (hasHeaders ? 6 : 5)
        all.append(
          Self.message(
            words, hasReply ? words[3] : "", Array(bytes[end..<end + headers]),
            Array(bytes[end + headers..<end + size])))
        end += size + 2
      default: throw TestFailure("not an operation: \(line)")
      }
      bytes.removeFirst(end)
    }
    return all
  }

  private static func message(
    _ words: [String], _ reply: String, _ headers: [UInt8], _ payload: [UInt8]
  ) -> Frame {
    var frame = Frame(kind: .message, sid: words[2], subject: words[1])
    frame.reply = withoutTime(reply)
    frame.headers = String(decoding: headers, as: UTF8.self).split(separator: "\r\n")
      .filter { !$0.hasPrefix("Nats-Time-Stamp:") }
      .map { $0.hasPrefix("NATS/1.0 400") ? "NATS/1.0 400" : String($0) }.joined(separator: "|")
    frame.payload = String(decoding: payload, as: UTF8.self)
    if let json = try? JSONValue(parsing: payload), json["type"] != nil || json["error"] != nil {
      frame.content = comparable(json)
      frame.payload = ""
    }
    return frame
  }

  /// `$JS.ACK.<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.<time>.<pending>`
  private static func withoutTime(_ reply: String) -> String {
    guard reply.hasPrefix("$JS.ACK.") else { return reply }
    var tokens = reply.split(separator: ".")
    if tokens.count == 9 { tokens[7] = "T" }
    return tokens.joined(separator: ".")
  }

  private static func comparable(info: JSONValue) -> JSONValue {
    let known = [
      "version", "proto", "headers", "max_payload", "jetstream", "connect_info", "remote_account",
      "ldm",
    ]
    return .object(known.compactMap { key in info[key].map { .init(key, $0) } })
  }

  /// Members in order, without what servers choose, and what nobody reads.
  private static func comparable(_ json: JSONValue) -> JSONValue {
    guard case .object(var members) = json else { return json }
    let ignored: Set<String> = [
      "created", "ts", "first_ts", "last_ts", "time", "cluster", "total", "offset", "limit",
      "consumer_limits", "api", "ack_floor", "last_active", "stream_seq",
    ]
    members.removeAll { ignored.contains($0.key) || $0.key.hasPrefix("_nats.") }
    // 2.10 subtracts streams without a limit from 0.
    members.removeAll { $0.key == "reserved_storage" && $0.value.integer(Int64.self) == nil }
    members = members.map { .init($0.key, comparable($0.value)) }
    members.removeAll { $0.key == "metadata" && $0.value == .object([]) }
    // What the server can't parse it explains in its own words.
    if members.contains(where: { $0.key == "err_code" && $0.value == 10025 }) {
      members.removeAll { $0.key == "description" }
    }
    return .object(members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) })
  }
}
