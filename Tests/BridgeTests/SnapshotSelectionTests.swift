import Bridge
import BridgeConfiguration
import JSON
import MongoSource
import Oplog
import Testing

@Suite struct SnapshotSelectionTests {
  private let configuration: BridgeConfiguration

  init() throws {
    configuration = try BridgeConfiguration.parse(
      yaml: """
        streams: [{ name: S, subjects: ["s.>"] }]
        rules:
          - { name: rooms, group: chat, match: { namespace: chat.rooms }, subject: s.x }
          - { name: users, match: { namespace: "chat.us*" }, subject: s.x }
          - { name: typing, snapshot: false, group: chat, match: { namespace: chat.typing }, subject: s.x }
          - { name: gone, match: { namespace: chat.old, operations: [delete] }, subject: s.x }
        """, file: "t.yaml", environment: [:])
  }

  private func read(_ selection: SnapshotSelection) -> [String] {
    ["chat.rooms", "chat.users", "chat.usage", "chat.typing", "chat.old"].filter {
      selection.reads($0, configuration.rules)
    }
  }

  @Test func `of everything, unless a rule says snapshot false`() {
    let all = SnapshotSelection()
    #expect(all.isWhole && all.mistake(in: configuration) == nil)
    #expect(read(all) == ["chat.rooms", "chat.users", "chat.usage"])
  }

  @Test func `of rules, groups and collections`() {
    #expect(read(SnapshotSelection(rules: ["users"])) == ["chat.users", "chat.usage"])
    #expect(read(SnapshotSelection(groups: ["chat"])) == ["chat.rooms"])
    #expect(
      read(SnapshotSelection(rules: ["users"], groups: ["chat"]))
        == ["chat.rooms", "chat.users", "chat.usage"])
    #expect(read(SnapshotSelection(namespaces: ["*.users"])) == ["chat.users"])
    #expect(
      read(SnapshotSelection(rules: ["users"], namespaces: ["chat.rooms", "chat.usage"]))
        == ["chat.usage"])
  }

  @Test func `of which databases collections are listed`() {
    func lists(_ selection: SnapshotSelection) -> [String] {
      ["chat", "cha", "chatter", "other"].filter {
        selection.mayRead(database: $0, configuration.rules)
      }
    }
    #expect(lists(SnapshotSelection()) == ["chat"])
    #expect(lists(SnapshotSelection(namespaces: ["cha*.users"])) == ["chat"])
    #expect(lists(SnapshotSelection(namespaces: ["other.users"])) == [])
    // A rule that takes nothing of snapshots needs none.
    #expect(lists(SnapshotSelection(rules: ["gone"])) == [])
  }

  @Test func `mistakes are told`() {
    let mistakes = [
      SnapshotSelection(rules: ["usres"]), SnapshotSelection(rules: ["typing"]),
      SnapshotSelection(rules: ["gone"]), SnapshotSelection(groups: ["chta"]),
      SnapshotSelection(namespaces: ["chat"]), SnapshotSelection(groups: ["gone"]),
      SnapshotSelection(namespaces: ["chat.rooms", "nope.x"]),
      SnapshotSelection(rules: ["rooms"], namespaces: ["chat.us*"]),
      SnapshotSelection(namespaces: ["chat.*ers"]), SnapshotSelection(namespaces: ["*.u*s"]),
    ].map { $0.mistake(in: configuration) }
    #expect(
      mistakes == [
        "there is no rule usres: did you mean users?", "rule typing says snapshot: false",
        "rule gone takes no inserts, and a snapshot publishes documents as inserts",
        "there is no group chta: did you mean chat?",
        "the namespace \"chat\" has no dot: write database.collection, such as chat.*",
        "no rule is left that publishes documents of a snapshot",
        "no rule takes collections nope.x (there are chat.rooms, chat.us*)",
        "no rule takes collections chat.us* (there are chat.rooms)",
        nil, nil,
      ])
  }

  @Test func `the checkpoint keeps it`() throws {
    let place = OplogPosition(seconds: 7, increment: 1)
    var checkpoint = Checkpoint(
      bridge: "b", source: "s", instance: "i", version: 1, resume: place, term: 1,
      origin: .init(position: place, inclusive: false), streams: [:], configurationHash: "h")
    for selection in [SnapshotSelection(), SnapshotSelection(rules: ["a"], namespaces: ["x.*"])] {
      checkpoint.snapshot = Checkpoint.Snapshot(
        at: ResumePoint(position: place, term: 1), of: selection)
      for isOver in [false, true] {
        if isOver { checkpoint.snapshot?.marker = nil }
        let again = try Checkpoint(parsing: Array(checkpoint.json.text().utf8))
        #expect(again.snapshot?.selection == selection)
      }
    }
  }
}
