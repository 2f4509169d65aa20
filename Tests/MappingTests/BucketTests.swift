import Mapping
import Oplog
import Testing

@Suite("Entries of KV buckets") struct BucketTests {
  private func entry(_ key: String = "{documentKey._id}", ttl: Int? = nil) throws -> Rule {
    var rule = try rule(name: "r", envelope: .document)
    rule.subject = try Template(key: key, bucket: "presence")
    rule.route = .keyValue(BucketID(0))
    rule.keyTTL = ttl
    return rule
  }

  @Test func `a put is an ordinary message under its key`() throws {
    let written = Written(try entry())
    #expect(try written.subject(.insert([:])) == "$KV.presence.m1")
    #expect(
      try written.headers(.insert([:])) == """
        Nats-Msg-Id: rs0:1732360000.42.0\r
        Tailrace-Position: 1732360000.42.0\r
        Tailrace-Rule: r\r

        """)
  }

  @Test func `a delete purges the key`() throws {
    let headers = try Written(try entry(ttl: 30)).headers(.delete())
    #expect(headers.hasSuffix("KV-Operation: PURGE\r\nNats-Rollup: sub\r\n"))
    #expect(!headers.contains("Nats-TTL"))
  }

  @Test func `entries that expire`() throws {
    #expect(try Written(try entry(ttl: 30)).headers(.insert([:])).hasSuffix("Nats-TTL: 30s\r\n"))
  }

  @Test(arguments: [
    ("a", "a"), ("a b", "a=20b"), ("a.b", "a=2Eb"), ("x=y", "x=3Dy"), ("50%", "50=25"),
    ("a/b-c_d", "a/b-c_d"), ("*>", "=2A=3E"), ("~", "=7E"), ("ü", "=C3=BC"), ("$KV", "=24KV"),
  ])
  func `values are one token of a key`(_ value: String, _ token: String) throws {
    #expect(KeyToken.escape(value) == token)
    let written = Written(try entry("u.{fullDocument.x}.s"))
    #expect(try written.subject(.insert(["x": .string(value)])) == "$KV.presence.u.\(token).s")
  }
}
