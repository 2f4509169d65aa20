import JSON
import Operator
import Testing

/// What `tailrace status` makes of a bridge's `/status`, without a bridge.
@Suite("Status screen") struct StatusScreenTests {
  private static func document(
    _ health: String, uptime: Double = 100, instance: String = "one", derived: UInt64 = 500,
    published: UInt64 = 400
  ) -> JSONValue {
    [
      "bridge": "chat", "instance": .string(instance), "health": .string(health), "role": "leader",
      "epoch": 3, "version": "1", "uptime_seconds": .number("\(uptime)"), "position": "5.1",
      "majority_position": "5.2", "lag_seconds": .number("0.2"), "rate_per_second": .number("3.0"),
      "in_flight": 7, "events_derived": .int(derived),
      "outcomes": ["published": .int(published), "dead_lettered": 2, "dry_run": 0],
      "checks": [
        "pipeline": ["status": .string(health), "detail": "what the bridge says"],
        "nats": ["status": "fail", "detail": "gone: \u{1B}[2J\u{202E}"],
        "lease": ["status": "ok", "detail": "fine"],
      ],
      "oplog_window": ["headroom_seconds": 432000, "window_seconds": 500000],
      "rules": [
        [
          "name": "created", "published": .int(published), "matched": .int(published),
          "dead_lettered": 2, "last_error": "schema_invalid: a\nb",
        ]
      ],
      "streams": [
        [
          "name": "CHAT", "protocol": "chain", "last_sequence": .int(published), "in_flight": 7,
          "last_position": "5.1.0", "refusal": ["reason": "full"],
        ]
      ],
      "cutover_groups": [
        ["group": "a", "phase": "bridge", "counts": ["filled": 0]],
        ["group": "b", "phase": "dual", "counts": ["filled": 9]],
      ],
      "dead_letters_standing": 12,
      "last_errors": [["age_seconds": .number("4.0"), "error": "it broke"]],
    ]
  }

  private func text(_ screen: StatusScreen) -> String {
    screen.lines.map(\.text).joined(separator: "\n")
  }

  @Test func `says health with its reason, and everything an operator asks for`() {
    let screen = StatusScreen(Self.document("stalled"))
    let text = text(screen)
    #expect(screen.lines.first?.tone == .bad)
    for part in [
      "bridge chat  stalled: there are events, and none has moved", "what the bridge says",
      "nats fail: gone:", "leader in epoch 3", "lag 0.2 s", "3.0 a second", "7 in flight",
      "5 d behind the checkpoint", "400 published", "12 in the stream: tailrace dlq list",
      "created",
      "chain", "full", "and 1 in phase bridge", "4.0 s ago: it broke",
    ] {
      #expect(text.contains(part), "\(part) is missing:\n\(text)")
    }
    #expect(!text.contains("lease ok") && !text.contains("dry_run"))
  }

  @Test func `nothing from outside reaches a terminal as it is`() {
    for line in StatusScreen(Self.document("ok")).lines {
      #expect(!line.text.unicodeScalars.contains { $0.value < 0x20 || $0 == "\u{202E}" })
    }
    #expect(text(StatusScreen(Self.document("ok"))).contains(#"\u{1B}[2J\u{202E}"#))
    #expect(text(StatusScreen(Self.document("ok"))).contains(#"a\u{A}b"#))
  }

  @Test func `rates are differences of two answers of one process`() {
    let before = Self.document("ok", uptime: 98, derived: 100, published: 50)
    let now = Self.document("ok")
    let screen = text(StatusScreen(now, since: before))
    #expect(screen.contains("200 a second"), "\(screen)")
    let rule = screen.split(separator: "\n").first { $0.hasPrefix("created") }
    #expect(rule?.split(separator: " ").prefix(3) == ["created", "400", "175"])
    // Another process begins to count from zero.
    let other = text(
      StatusScreen(now, since: Self.document("ok", uptime: 98, instance: "two", derived: 100)))
    #expect(other.contains("3.0 a second"))
    let alone = text(StatusScreen(now)).split(separator: "\n").first { $0.hasPrefix("created") }
    #expect(alone?.split(separator: " ").prefix(3) == ["created", "400", "-"])
  }

  @Test(arguments: [
    ("ok", false), ("idle", false), ("degraded", false), ("stalled", true), ("gap", true),
    ("failed", true),
  ])
  func `exit codes`(_ health: String, _ isBad: Bool) {
    #expect(StatusScreen.isUnhealthy(Self.document(health)) == isBad)
  }

  @Test func `a line for logs`() {
    let line = StatusLine.text(Self.document("stalled"), since: nil, at: "2026-01-01T00:00:00Z")
    #expect(
      line == "2026-01-01T00:00:00Z chat stalled; leader in epoch 3; 3.0 events/s; lag 0.2 s; "
        + "position 5.1; 7 in flight; headroom 5 d; 400 published; 2 dead letters; group b dual; "
        + "what the bridge says")
    #expect(!StatusLine.text(Self.document("ok"), since: nil, at: "t").contains("what the"))
  }

  @Test func `a document of another version is shown as far as it goes`() {
    let bare: JSONValue = ["instance": "x", "bridge": "old", "health": "sleepy"]
    let screen = StatusScreen(bare)
    #expect(screen.lines.first?.text == "bridge old  sleepy")
    #expect(!StatusScreen.isUnhealthy(bare))
  }

  @Test(arguments: [
    ("http://h:1", "h:1"), ("http://h", "h:80"), ("http://[::1]:8080/", "[::1]:8080"),
    ("http://h:1/a/b/", "h:1/a/b"), ("http://h:1/status", "h:1"),
  ])
  func `addresses`(_ text: String, _ wanted: String) {
    #expect(HTTPAddress(text)?.description == wanted)
  }

  @Test(arguments: [
    "", "h:1", "https://h", "http://", "http://h:x", "http://h:0", "http://h:70000", "http://u@h",
    "http://h/?a", "http://h /", "http://[::1", "http://::1:80",
  ])
  func `what is no address`(_ text: String) {
    #expect(HTTPAddress(text) == nil)
  }
}
