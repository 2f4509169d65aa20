import BridgeConfiguration
import Testing

/// Which changes of a rule its group's producers would notice.
@Suite struct RuleContractTests {
  private static func contract(_ rules: String) throws -> RuleContract {
    let streams = #"[{ name: S, subjects: ["s.>"] }, { name: T, subjects: ["t.>"] }]"#
    return RuleContract("g", in: try configuration("streams: \(streams)\nrules: [\(rules)]"))
  }

  private static func rule(_ more: String = "", match: String = "namespace: a.b") -> String {
    let fixed = ["name: r", "group: g", "match: { \(match) }"]
    var keys = ["subject": "s.x", "stream": "S", "id": "'{documentKey._id}.x'"]
    var rest: [String] = []
    for part in more.split(separator: "|") {
      let key = String(part.split(separator: ":")[0])
      if keys[key] != nil {
        keys[key] = String(part.drop { $0 != ":" }.dropFirst(2))
      } else {
        rest.append(String(part))
      }
    }
    let all = fixed + keys.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" } + rest
    return "{ \(all.joined(separator: ", ")) }"
  }

  private static let before = #"{ name: q, match: { namespace: "a.*" }, subject: s.q, stream: S }"#

  @Test(arguments: [
    ("subject: s.y", ["subject"]), ("id: '{documentKey._id}.y'", ["id"]),
    ("subject: t.x|stream: T", ["stream", "subject"]),
    ("payload: { envelope: document }", ["payload"]),
    ("payload: { exclude: [fullDocument.a] }", ["payload"]),
    ("payload: { redact: { fullDocument.a: mask } }", ["payload"]),
    ("skip_empty_updates: false", ["match"]),
    ("on_invalid: drop", []), ("on_id_conflict: drop", []), ("event_type: y", []),
    ("snapshot: false", []),
  ])
  func `keys of a rule`(_ change: String, _ keys: [String]) throws {
    let found = try Self.contract(Self.rule()).differences(to: Self.contract(Self.rule(change)))
    #expect(found.map(\.key) == keys && found.allSatisfy { $0.rule == "r" })
  }

  @Test(arguments: [
    "namespace: a.c", "namespace: a.b, operations: [insert]",
    "namespace: a.b, where: { fullDocument.a: 1 }",
  ])
  func `what it matches`(_ match: String) throws {
    let found = try Self.contract(Self.rule()).differences(
      to: Self.contract(Self.rule(match: match)))
    #expect(found.map(\.key) == ["match"])
  }

  @Test func `rules before it that take its events`() throws {
    func changed(_ rules: String) throws -> [String] {
      try Self.contract(Self.rule()).differences(to: Self.contract(rules)).map(\.key)
    }
    #expect(try changed("\(Self.before), \(Self.rule())") == ["match"])
    #expect(try changed("\(Self.rule()), \(Self.before)") == [])
    let passing = Self.before.replacing("subject", with: "continue: true, subject")
    #expect(try changed("\(passing), \(Self.rule())") == [])
    let other = Self.before.replacing("a.*", with: "c.*")
    #expect(try changed("\(other), \(Self.rule())") == [])
  }

  @Test func `rules that come and go`() throws {
    let one = try Self.contract(Self.rule())
    let two = try Self.contract(
      Self.rule() + #", { name: t, group: g, match: { namespace: z.z }, subject: s.t, stream: S }"#)
    #expect(one.differences(to: two) == [.init(rule: "t", key: "group")])
    #expect(two.differences(to: one) == [.init(rule: "t", key: "group")])
  }
}
