import BridgeConfiguration
import Mapping
import Testing

@Suite("What a rule says of its payload")
struct PayloadProblemTests {
  func yaml(
    _ rule: String, operations: String = "[insert]", subjects: String = "[changes.>]",
    subject: String = "changes.x"
  ) -> String {
    """
    streams: [{ name: CHANGES, subjects: \(subjects) }]
    rules:
      - name: changes
        match: { namespace: shop.orders, operations: \(operations) }
        subject: "\(subject)"
        \(rule)
    """
  }

  @Test("no name is given by rename and by set") func renameAndSet() {
    let both = "rename: { fullDocument.a: tenant }, set: { tenant: eu }"
    #expect(
      problems(yaml("payload: { envelope: document, \(both) }")).map { $0.contains("named tenant") }
        == [true])
    #expect(problems(yaml("payload: { \(both) }")) == [])
    #expect(
      problems(
        yaml(
          "payload: { envelope: document, rename: { fullDocument.a.b: tenant }, set: { tenant: eu } }"
        ))
        == [])
  }

  @Test("a rename's subject may have any collection's name") func renames() {
    func found(_ operations: String, _ subjects: String) -> Bool {
      !problems(
        yaml("", operations: operations, subjects: subjects, subject: "changes.{ns.coll}")
      ).isEmpty
    }
    #expect(!found("[drop]", "[changes.orders]"))
    #expect(found("[rename]", "[changes.orders]"))
    #expect(!found("[rename]", "[changes.*]"))
  }

  @Test("skip_empty_updates is a matter of the hash, unless it is true") func skipping() throws {
    let unsaid = try configuration(yaml(""))
    #expect(unsaid.rules[0].skipsEmptyUpdates)
    #expect(try configuration(yaml("skip_empty_updates: true")).hash == unsaid.hash)
    let off = try configuration(yaml("skip_empty_updates: false"))
    #expect(!off.rules[0].skipsEmptyUpdates)
    #expect(off.hash != unsaid.hash)
  }
}
