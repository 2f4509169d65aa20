import BridgeConfiguration
import Foundation
import JSON
import Mapping
import Testing

@Suite("files") struct UnreadableFileTests {
  @Test("extensions hold anchors, at any level") func extensions() throws {
    let c = try configuration(
      """
      x-common: &match { namespace: a.b }
      x-anything: [1, { b: c }]
      nats: { x-note: who knows, tls: { x-y: 1 } }
      streams:
        - { name: S, subjects: ["s.>"], x-owner: me, consumers: [{ durable_name: c, x-a: 1 }] }
      rules:
        - { name: r, match: { <<: *match, x-z: 1 }, subject: s.x, x-b: 1, payload: { x-c: 1, set: { x-kept: 1 } } }
      """)
    #expect(c.rules[0].namespace.text == "a.b")
    #expect(c.rules[0].changes.constants.map(\.name) == ["x-kept"])
    #expect(c.streams[0].settings == .object([]))
    #expect(c.streams[0].consumers[0]["x-a"] == nil)
  }

  @Test("a secret in place of its file's name stays secret") func secretAsPath() {
    let secrets = [
      "s3cr3t", "/s3/cr3t==", "eyJh.s3cr3t.x", String(repeating: "s3cr3t", count: 1000),
    ]
    for secret in secrets {
      for key in [
        "source: { uri_file: \"\(secret)\" }", "nats: { token_file: \"\(secret)\" }",
        "nats: { user: u, password_file: \"\(secret)\" }",
        "nats: { nkey_seed_file: \"\(secret)\" }",
        "nats: { credentials_file: \"\(secret)\" }", "http: { token_file: \"\(secret)\" }",
        "redaction: { key_file: \"\(secret)\" }",
        "nats: { tls: { cert_file: /dev/null, key_file: \"\(secret)\" } }",
      ] {
        let list = problemList(base + key)
        #expect(list.contains { $0.message.contains("can't be read") }, "\(key): \(list)")
        #expect(!"\(list)".contains("s3"), "\(list)")
        #expect(list.allSatisfy { $0.line == 12 })
      }
    }
    #expect(
      problemList(base + "http: { token_file: s3cr3t }").first?.remedy
        == "Correct the path (relative ones start from the configuration's folder); if this is the "
        + "secret itself, write it as token.")
  }

  @Test("as many mistakes as lines are all told, at once") func manyMistakes() {
    let count = 20_000
    let keys = (0..<count).map { "key\($0): 1" }.joined(separator: "\n")
    let list = problemList(base + keys)
    #expect(list.count == count && list[count - 1].line == 11 + count)
  }

  @Test("each obstacle has a remedy that fits") func obstacles() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("tailrace-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    func write(_ bytes: [UInt8], _ name: String) throws -> String {
      let file = folder.appendingPathComponent(name)
      try Data(bytes).write(to: file)
      return file.path
    }
    // Nobody will ever write into it.
    let pipe = folder.path + "/pipe"
    try #require(mkfifo(pipe, 0o600) == 0)
    let cases: [(path: String, place: String, reason: String, remedy: String)] = [
      (folder.path, "", "Is a directory", "Name a file in that folder."),
      (folder.path + "/no", "", "No such file", "Name the file"),
      ("/dev/zero", "", "larger than 8 MiB", "Name the right file"),
      (pipe, "", "it is a pipe", "Name a regular file"),
      (
        try write(Array(repeating: 0x20, count: 9 << 20), "large"), "", "larger than 8 MiB",
        "Name the right file"
      ),
      (
        try write(Array("a: b\nc: \u{e9}".utf8) + [0x78, 0xE9, 0x78], "l1"), ":2:6",
        "line 2, column 6", "UTF-8"
      ),
      (try write([0xFF, 0xFE, 0x61, 0], "u16"), ":1:1", "UTF-16", "UTF-8"),
    ]
    for (path, place, reason, remedy) in cases {
      let error = #expect(throws: ConfigurationProblems.self) {
        try BridgeConfiguration.load(path: path, environment: [:])
      }
      let text = error?.description ?? ""
      #expect(text.hasPrefix("\(path)\(place): the configuration can't be read: "), "\(text)")
      #expect(text.contains(reason) && text.contains(remedy), "\(text)")
      for key in ["schema", "token_file"] where place.isEmpty || key == "schema" {
        let list = problemList(
          key == "schema"
            ? """
            streams: [{ name: S, subjects: ["s.>"] }]
            rules: [{ name: r, match: { namespace: a.b }, subject: s.x, schema: "\(path)" }]
            """ : base + "http: { token_file: \"\(path)\" }")
        #expect(list.count == 1 && list[0].message.contains(reason), "\(list)")
        #expect(list[0].line > 0 && list[0].column > 0)
      }
    }
  }
}
