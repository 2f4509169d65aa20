import Mapping
import Oplog
import Testing

@Suite("Rules that take renames")
struct RenameMatchingTests {
  static func renamed(_ from: String, _ to: String) -> Change {
    Change(operation: .rename, namespace: from, documentKey: nil, to: to)
  }

  @Test("by either name, the first rule in the file") func either() throws {
    let written = Written(
      try rule("a", name: "target", namespace: "chat.users", operations: [.init(.rename)]),
      try rule("b", name: "source", namespace: "chat.tmp*", operations: [.init(.rename)]),
      try rule("c", name: "drops", namespace: "chat.users", operations: [.init(.drop)]))
    let found = try written.matches(
      Self.renamed("chat.tmp.agg_out.1", "chat.users"), Self.renamed("chat.tmp1", "chat.other"),
      Self.renamed("chat.users", "chat.old"), Self.renamed("chat.x", "chat.y"),
      Self.renamed("other.users", "other.chat.users"), Self.renamed("other.x", "chat.users"))
    #expect(found == [[0], [1], [0], [], [], [0]])
  }

  @Test("a rule takes an event once, also where both names are its own") func once() throws {
    let written = Written(
      try rule(
        "a", name: "all", namespace: "chat.*", operations: [.init(.rename)], continues: true),
      try rule("b", name: "audit", namespace: "*.*"))
    #expect(try written.matches(Self.renamed("chat.a", "chat.b")) == [[0, 1]])
  }

  @Test("other events of the old name are no matter of the target's rule") func others() throws {
    let written = Written(try rule("a", name: "target", namespace: "chat.users"))
    var drop = Change(operation: .drop, namespace: "chat.tmp", documentKey: nil)
    #expect(try written.matches(drop) == [[]])
    drop.namespace = "chat.users"
    #expect(try written.matches(drop) == [[0]])
  }
}
