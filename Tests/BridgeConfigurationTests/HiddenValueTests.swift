import BridgeConfiguration
import Mapping
import Testing

extension WarningTests {
  /// A template's path, the payload, and the path that hides it.
  private static let hidden: [(String, String, String?)] = [
    ("fullDocument.a", "exclude: [fullDocument.a]", "fullDocument.a"),
    ("fullDocument.a.b", "exclude: [fullDocument.a]", "fullDocument.a"),
    ("fullDocument.a", "redact: { fullDocument.a: mask }", "fullDocument.a"),
    ("fullDocument.a", "redact: { fullDocument.a: hash }", "fullDocument.a"),
    ("fullDocument.a", "redact: { fullDocument.a: drop }", "fullDocument.a"),
    ("fullDocument.map.7.a", "exclude: [fullDocument.map.a]", "fullDocument.map.a"),
    ("fullDocument.urls.0", "redact: { fullDocument.urls: mask }", "fullDocument.urls"),
    ("fullDocument.a", "exclude: [fullDocument.b, fullDocument.a]", "fullDocument.a"),
    // Names are those that documents have.
    (
      "fullDocument.a", "rename: { fullDocument.a: b }, exclude: [fullDocument.a]", "fullDocument.a"
    ),
    ("fullDocument.a", "rename: { fullDocument.a: b }, exclude: [fullDocument.b]", nil),
    ("documentKey._id", "redact: { fullDocument._id: hash }", "fullDocument._id"),
    ("fullDocument._id", "redact: { fullDocument._id: hash }", "fullDocument._id"),
    ("documentKey._id", "exclude: [documentKey._id]", "documentKey._id"),
    ("documentKey._id", "exclude: [documentKey]", "documentKey"),
    ("documentKey.tenant", "exclude: [fullDocument.tenant]", "fullDocument.tenant"),
    ("documentKey._id.user", "exclude: [fullDocument._id.user]", "fullDocument._id.user"),
    // The body shows the same value in documentKey.
    ("documentKey._id", "exclude: [fullDocument._id]", nil),
    ("fullDocument._id", "exclude: [fullDocument._id]", nil),
    ("fullDocument._id", "exclude: [fullDocument._id, documentKey._id]", "documentKey._id"),
    ("fullDocument._id", "exclude: [documentKey._id]", nil),
    ("fullDocument.a", "exclude: [fullDocument.a.b, fullDocument.ab]", nil),
    ("fullDocument.a", "exclude: [fullDocument.b], redact: { fullDocument.c: mask }", nil),
    // Whole parts of events are left out for size.
    ("fullDocument.a", "exclude: [fullDocument]", nil),
    ("fullDocument.a", "include: [documentKey]", nil),
    ("ns.coll", "exclude: [ns]", nil),
    ("fullDocument.a", "envelope: document, set: { a: 1 }", nil),
  ]

  @Test("of values that bodies hide", arguments: hidden) func hiddenValues(
    _ path: String, _ payload: String, _ told: String?
  ) throws {
    for (namespace, operations) in [("a.b", "[insert]"), ("\"*.*\"", "[insert, replace]")] {
      let yaml = """
        redaction: { key: 0123456789abcdef0123456789abcdef }
        streams: [{ name: S, subjects: ["s.>"] }]
        rules:
          - name: r
            match: { namespace: \(namespace), operations: \(operations) }
            subject: "s.x.{\(path)}"
            id: "{clusterTime}.{\(path)}"
            payload: { \(payload) }
        """
      let found = try configuration(yaml).warnings.filter { $0.id == .templateHidden }
      #expect(found.map { "\($0.line):\($0.column)" } == (told == nil ? [] : ["6:20", "7:25"]))
      for warning in found {
        #expect(warning.message.hasPrefix("\(path) is hidden from bodies by payload."))
        #expect(warning.message.contains("(\(told ?? ""))"))
      }
    }
  }

  @Test("of values that bodies hide, in updates and outboxes") func hiddenElsewhere() throws {
    let yaml = """
      streams: [{ name: S, subjects: ["s.>"] }]
      rules:
        - name: u
          match: { namespace: a.b, operations: [update] }
          subject: "s.{documentKey._id}"
          id: "{documentKey._id}.{updateDescription.updatedFields.v}"
          payload: { exclude: [fullDocument.v] }
        - name: o
          match: { namespace: a.c }
          outbox: { type: fullDocument.kind }
          payload: { redact: { fullDocument.kind: mask } }
      """
    let found = try configuration(yaml).warnings.filter { $0.id == .templateHidden }
    #expect(found.map { "\($0.line):\($0.column)" } == ["6:29", "10:15"])
  }
}
