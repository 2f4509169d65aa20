import BridgeConfiguration
import JSON
import Operator
import Testing

/// The forms and the choice of messages that `tailrace tap` shows.
@Suite struct TapTests {
  private static func message(
    _ headers: String = "Nats-Msg-Id: rs0:1.2.0\r\nTailrace-Position: 1.2.0\r\nTailrace-Rule: made",
    body: String = #"{"a":1.50}"#, subject: String = "chat.r1.made"
  ) -> TapMessage {
    TapMessage(
      stream: "CHAT", sequence: 42, subject: subject,
      headerBlock: Array("NATS/1.0\r\n\(headers)\r\n\r\n".utf8), body: Array(body.utf8),
      storedAt: 1_700_000_000_123)
  }

  @Test func `one line for people`() {
    #expect(
      Self.message().line
        == #"2023-11-14T22:13:20.123Z  CHAT 42  [made]  chat.r1.made  rs0:1.2.0  {"a":1.50}"#)
    #expect(Self.message(body: "").line.hasSuffix("  (no body)"))
    let letter = Self.message(
      "Nats-Msg-Id: x\r\nTailrace-Rule: made\r\nTailrace-Error: path_missing\r\nTailrace-Error-Detail: no rid"
    )
    #expect(letter.line.contains("DEAD LETTER path_missing: no rid"))
  }

  @Test func `nothing reaches a terminal as it is`() throws {
    let nasty = Self.message(
      "Nats-Msg-Id: a\u{1B}]0;x\u{7}b\r\nTailrace-Rule: made", body: "\"\u{9B}31m\u{202E}\"",
      subject: "a.\u{85}")
    for text in [nasty.line, nasty.json] {
      for scalar in text.unicodeScalars {
        #expect(scalar.properties.generalCategory != .control && !scalar.properties.isBidiControl)
      }
    }
    // And JSON stays what it was.
    let value = try JSONValue(parsing: nasty.json)
    #expect(value["body"] == .string("\u{9B}31m\u{202E}"))
    #expect(value["subject"] == .string("a.\u{85}"))
    #expect(value["headers"]?["Nats-Msg-Id"] == .string("a\u{1B}]0;x\u{7}b"))
  }

  @Test(arguments: [
    (#"{"a":1.50}"#, #"{"a":1.50}"#), ("", "null"), ("{", #""{""#),
    ("{\n\"a\": 1\n}", #"{"a":1}"#),
  ])
  func `bodies as JSON`(_ body: String, _ wanted: String) {
    let json = Self.message(body: body).json
    #expect(json.hasPrefix(#"{"stream":"CHAT","seq":42,"subject":"chat.r1.made","headers":{"#))
    #expect(json.hasSuffix(#","body":\#(wanted)}"#), "\(json)")
  }

  private static func configuration() throws -> BridgeConfiguration {
    try BridgeConfiguration.parse(
      yaml: """
        source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
        streams: [{ name: S, subjects: [s.>] }, { name: T, subjects: [t.>] }]
        rules:
          - { name: one, stream: S, match: { namespace: d.one }, subject: s.one }
          - { name: two, stream: T, match: { namespace: d.two }, subject: t.two }
          - { name: heard, delivery: core, match: { namespace: d.heard }, subject: heard.it }
        dead_letter: { stream: DLQ, subject: "dlq.{rule}" }
        """, file: "t.yaml", environment: [:])
  }

  @Test func `streams are those of the rules, and the dead letters'`() throws {
    let configuration = try Self.configuration()
    #expect(TapFilter().streams(of: configuration) == ["S", "T", "DLQ"])
    #expect(TapFilter(rules: ["two"]).streams(of: configuration) == ["T", "DLQ"])
    #expect(TapFilter(rules: ["unmatched"]).streams(of: configuration) == ["DLQ"])
  }

  @Test func `what can't be shown is an error`() throws {
    let configuration = try Self.configuration()
    func problem(_ rules: Set<String>, _ subject: String? = nil) -> String? {
      TapFilter(rules: rules, subject: subject).problem(in: configuration)
    }
    #expect(problem(["one", "unmatched"], "s.*.>") == nil)
    #expect(problem(["tow"]) == "there is no rule 'tow'; the configuration's are: one, two, heard")
    #expect(problem(["heard"])?.contains("delivery: core") == true)
    #expect(problem([], "a..b")?.contains("--subject") == true)
  }

  @Test func `filters`() {
    let message = Self.message()
    #expect(TapFilter().takes(message))
    #expect(TapFilter(rules: ["made"], subject: "chat.*.made").takes(message))
    #expect(!TapFilter(rules: ["other"]).takes(message))
    #expect(!TapFilter(subject: "chat.*").takes(message))
  }
}
