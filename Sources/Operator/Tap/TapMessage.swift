package import Bridge
public import BridgeConfiguration
import JSON
import Mapping
import NATS

/// A message of the bridge as its stream holds it, in the two forms that `tailrace tap` prints.
public struct TapMessage: Sendable {
  package var stream: String
  package var sequence: UInt64
  package var subject: String
  package var headers: [(name: String, value: String)]
  package var body: [UInt8]
  /// When the server stored it, milliseconds since 1970.
  package var storedAt: Int64?
  package var own: OwnMessage

  package init(
    stream: String, sequence: UInt64, subject: String, headerBlock: [UInt8], body: [UInt8],
    storedAt: Int64?
  ) {
    self.stream = stream
    self.sequence = sequence
    self.subject = subject
    headers = Self.fields(headerBlock)
    own = OwnMessage(headerBlock)
    self.body = body
    self.storedAt = storedAt
  }

  /// By bytes, which costs a tenth of what characters would. The version line has no colon, but for a status, which
  /// stored messages lack.
  private static func fields(_ block: [UInt8]) -> [(name: String, value: String)] {
    block.split(separator: UInt8(ascii: "\n")).compactMap { line in
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return nil }
      var value = line[(colon + 1)...].drop { $0 == UInt8(ascii: " ") }
      if value.last == UInt8(ascii: "\r") { value.removeLast() }
      return (
        String(decoding: line[..<colon], as: UTF8.self), String(decoding: value, as: UTF8.self)
      )
    }
  }

  package var size: Int { subject.utf8.count + body.count + 64 * (headers.count + 4) }

  /// For people: when, where, rule, subject, id, of a dead letter why, and the body. Fit for a terminal.
  public var line: String {
    var parts = [
      storedAt.map { CutoverTime.text($0) } ?? "-", "\(stream) \(sequence)",
      "[\(own.rule ?? "-")]", subject, own.storedID,
    ]
    if let error = own.error {
      parts.append("DEAD LETTER \(error): \(own.errorDetail ?? "")")
    }
    parts.append(body.isEmpty ? "(no body)" : String(decoding: body, as: UTF8.self))
    return TerminalText.printable(parts.joined(separator: "  "))
  }

  /// `{"stream","seq","subject","headers","body"}` on one line. A body that is JSON is there as it is, another one as
  /// a string, an empty one as null.
  public var json: String {
    let head: JSONValue = [
      "stream": .string(stream), "seq": .int(sequence), "subject": .string(subject),
      "headers": .object(headers.map { JSONValue.Member($0.name, .string($0.value)) }),
    ]
    return TerminalText.printableJSON("\(head.text().dropLast()),\"body\":\(jsonBody)}")
  }

  private var jsonBody: String {
    guard !body.isEmpty else { return "null" }
    let text = String(decoding: body, as: UTF8.self)
    guard JSONDigest(body) != nil else { return JSONValue.string(text).text() }
    guard body.contains(where: { $0 == 0x0A || $0 == 0x0D }) else { return text }
    return (try? JSONValue(parsing: body))?.text() ?? JSONValue.string(text).text()
  }
}

/// Which messages are shown: those that everything given here fits.
public struct TapFilter: Sendable, Equatable {
  /// Empty: those of all rules.
  public var rules: Set<String>
  /// With NATS' wildcards; nil: any.
  public var subject: String?

  public init(rules: Set<String> = [], subject: String? = nil) {
    self.rules = rules
    self.subject = subject
  }

  /// A rule that is not the configuration's, or whose messages no stream holds; a subject that is none.
  public func problem(in configuration: BridgeConfiguration) -> String? {
    if let subject, !NATSSubject.isValidFilter(subject.utf8) {
      return "--subject takes a subject, with * for a token and > for the rest, not '\(subject)'"
    }
    for name in rules.sorted() where name != DeadLetterSubject.unmatchedRule {
      guard let rule = configuration.rules.first(where: { $0.name == name }) else {
        let known = configuration.rules.map(\.name).joined(separator: ", ")
        return "there is no rule '\(name)'; the configuration's are: \(known)"
      }
      if rule.route == .core {
        return
          "rule \(name) publishes signals (delivery: core), which no stream holds: listen to them with nats sub"
      }
    }
    return nil
  }

  /// The streams that hold such messages: of the configuration, and the dead letters'.
  package func streams(of configuration: BridgeConfiguration) -> [String] {
    var names: [String] = []
    for rule in configuration.rules where rules.isEmpty || rules.contains(rule.name) {
      guard let index = rule.streamIndex else { continue }
      let name = configuration.streams[index].name
      if !names.contains(name) { names.append(name) }
    }
    if rules.isEmpty {
      for stream in configuration.streams where !names.contains(stream.name) {
        names.append(stream.name)
      }
    }
    if !names.contains(configuration.deadLetter.stream) {
      names.append(configuration.deadLetter.stream)
    }
    return names
  }

  package func takes(_ message: TapMessage) -> Bool {
    if !rules.isEmpty, !rules.contains(message.own.rule ?? "") { return false }
    guard let subject else { return true }
    return NATSSubject.matches(message.subject, filter: subject)
  }
}
