import BridgeConfiguration
import Testing

/// What is appended to the eleven good lines of `base`, and the problems it makes.
struct ProblemCase: Sendable, CustomTestStringConvertible {
  var yaml: String
  var problems: [String]
  var testDescription: String { yaml }

  init(_ yaml: String, _ problems: String...) {
    self.yaml = yaml
    self.problems = problems
  }
}

@Suite("Problems and their places")
struct ProblemTests {
  @Test(
    "whole file",
    arguments: [
      ProblemCase("", "1:1: the configuration is empty"),
      ProblemCase("# nothing\n", "1:1: the configuration is empty"),
      ProblemCase(
        "- a\n", "1:1: the configuration is a list", "1:1: the configuration has no streams",
        "1:1: the configuration has no rules"),
      ProblemCase(
        "source: [\n",
        "2:1: not valid YAML: did not find expected node content (while parsing a flow node that starts at line 2)"
      ),
      ProblemCase(
        "a: 1\n b: 2\n", "2:3: not valid YAML: mapping values are not allowed in this context"),
      ProblemCase(
        "a: 1\n---\nb: 2\n",
        "2:1: not valid YAML: but found another document (expected a single document in the stream that starts at line 1)"
      ),
      ProblemCase(
        "log: {level: info}\nlog: {level: info}\n", "1:1: the key log appears twice in one mapping"),
      ProblemCase("log: *nowhere\n", "1:6: not valid YAML: found undefined alias"),
      ProblemCase(
        "log: {level: \u{1}}\n", "1:14: not valid YAML: control characters are not allowed"),
      ProblemCase("rules: []\nstreams: []\n", "1:8: rules is empty", "2:10: streams is empty"),
      ProblemCase(
        "rules: 5\nstreams: x\n", "1:8: rules is a single value, not a list",
        "2:10: streams is a single value, not a list"),
    ])
  func file(_ test: ProblemCase) {
    #expect(problems(test.yaml) == test.problems)
  }

  @Test("files that mean harm are refused, not followed") func hostile() {
    let deep = problems(String(repeating: "[", count: 100_000))
    #expect(deep.count == 1 && deep[0].contains("not valid YAML"), "\(deep)")
    // Each line stands for ten times the line before.
    var bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for n in 1...12 {
      bomb +=
        "a\(n): &a\(n) [\(Array(repeating: "*a\(n - 1)", count: 10).joined(separator: ", "))]\n"
    }
    #expect(problems(bomb).contains { $0.contains("more than 100,000 values") })
    #expect(problems("a: &a [*a]") == ["1:8: not valid YAML: found undefined alias"])
    #expect(problems("\0\u{1}") == ["1:1: not valid YAML: control characters are not allowed"])
  }

  @Test("the base is right") func baseIsRight() throws {
    #expect(problems(base) == [])
    #expect(try configuration(base).rules.count == 1)
  }

  @Test(
    "settings",
    arguments: [
      ProblemCase("sorce: {}", "12:1: unknown key sorce"),
      ProblemCase(
        "source: {uri: http://h}", "12:15: a MongoDB URI starts with mongodb:// or mongodb+srv://"),
      ProblemCase("source: {uri: \"mongodb:///?a=b\"}", "12:15: the URI names no host"),
      ProblemCase(
        "source: {uri: \"mongodb://h:x\"}", "12:15: the URI's host is not host or host:port"
      ),
      ProblemCase(
        "source: {uri: \"mongodb://u:p@q@h\"}",
        "12:15: the URI's user or password holds a reserved character"),
      ProblemCase(
        "source: {uri: \"mongodb://u:p/q@h\"}",
        "12:15: the URI's user or password holds a reserved character"),
      ProblemCase(
        "source: {uri: \"mongodb://h/?tls\"}", "12:15: the URI has an option without a value"),
      ProblemCase("source: {uri: [a]}", "12:15: source.uri is a list, not a single value"),
      ProblemCase(
        "source: {uri_file: /nonexistent/uri}",
        "12:20: the file of source.uri_file can't be read: No such file or directory"
      ),
      ProblemCase(
        "source: {uri: mongodb://h, uri_file: x}",
        "12:28: both source.uri and source.uri_file are given"),
      ProblemCase("source: {name: a b}", "12:16: source.name can't be \"a b\""),
      ProblemCase("source: {reader: oplogg}", "12:18: source.reader can't be \"oplogg\""),
      ProblemCase(
        "source: {read_concern: linearizable}",
        "12:24: source.read_concern can't be \"linearizable\""),
      ProblemCase("source: {start: tomorrow}", "12:17: source.start can't be \"tomorrow\""),
      ProblemCase(
        "source: {start: snapshots}",
        "12:17: source.start can't be \"snapshots\""),
      ProblemCase(
        "source: {on_position_lost: ignore}",
        "12:28: source.on_position_lost can't be \"ignore\""),
      ProblemCase("source: {urii: x}", "12:10: unknown key urii in source"),
      ProblemCase("source: 5", "12:9: source is a single value"),
      ProblemCase("nats: {servers: []}", "12:8: nats.servers is empty"),
      ProblemCase("nats: {servers: {a: b}}", "12:17: nats.servers is a mapping, not a list"),
      ProblemCase(
        "nats: {servers: [[a]]}", "12:18: nats.servers[0] is a list, not a single value",
        "12:8: nats.servers is empty"),
      ProblemCase(
        "nats: {servers: [\"http://h\"]}", "12:19: a NATS server can't be reached by http://"),
      ProblemCase(
        "nats: {servers: [\"nats://h:4222,nats://h:99999\"]}",
        "12:33: the server's port is not a number"),
      ProblemCase(
        "nats: {servers: [\"nats://a b\"]}", "12:19: this is not the address of a NATS server"),
      ProblemCase(
        "nats: {token: a, user: b, password: c}",
        "12:18: nats has more than one way to authenticate: token, user"),
      ProblemCase("nats: {user: b}", "12:14: nats.user has no password"),
      ProblemCase("nats: {password: b}", "12:18: nats.password has no user"),
      ProblemCase(
        "nats: {credentials_file: /nonexistent/c}",
        "12:26: the file of nats.credentials_file can't be read: No such file or directory"
      ),
      ProblemCase(
        "nats: {tls: {cert_file: /dev/null}}", "12:14: nats.tls has cert_file without key_file"),
      ProblemCase(
        "nats: {tls: {handshake_first: maybe}}",
        "12:31: nats.tls.handshake_first is \"maybe\", not true or false"),
      ProblemCase("nats: {tls: {handshake: true}}", "12:14: unknown key handshake in nats.tls"),
      ProblemCase("bridge: {name: a.b}", "12:16: bridge.name can't be \"a.b\""),
      ProblemCase("bridge: {state_bucket: \"A B\"}", "12:24: bridge.state_bucket can't be \"A B\""),
      ProblemCase(
        "bridge: {checkpoint_interval: 1}",
        "12:31: bridge.checkpoint_interval is \"1\", not a duration"),
      ProblemCase(
        "bridge: {checkpoint_interval: 1w}",
        "12:31: bridge.checkpoint_interval is \"1w\", not a duration"),
      ProblemCase(
        "bridge: {checkpoint_interval: 1ms}",
        "12:31: bridge.checkpoint_interval is 1ms, out of range"),
      ProblemCase(
        "kv: [{bucket: TAILRACE}]", "12:15: TAILRACE is the bridge's own state bucket"),
      ProblemCase("kv: [{bucket: a, history: 65}]", "12:27: kv[0].history can't be \"65\""),
      ProblemCase("kv: [{bucket: a, size: 5}]", "12:18: unknown key size in kv[0]"),
      ProblemCase("unmatched: explode", "12:12: unmatched can't be \"explode\""),
      ProblemCase("unmatched: dead_leter", "12:12: unmatched can't be \"dead_leter\""),
      ProblemCase(
        "dead_letter: {subject: \"dlq.{coll}\"}", "12:30: a dead letter's subject can't hold {coll}"
      ),
      ProblemCase(
        "dead_letter: {subject: \"changes.{rule}\"}",
        "12:24: dead letters at changes.{rule} would go to stream CHANGES, which takes changes.>"),
      ProblemCase(
        "dead_letter: {stream: CHANGES}",
        "12:14: stream CHANGES takes changes.>, which does not cover the dead letters' subject dlq.{rule}"
      ),
      ProblemCase("http: {listen: 8080}", "12:16: \"8080\" is not an address to listen on"),
      ProblemCase(
        "http: {listen: \"h:99999\"}", "12:16: \"h:99999\" is not an address to listen on"),
      ProblemCase("http: {port: 1}", "12:8: unknown key port in http"),
      ProblemCase(
        "log: {level: inof, format: yaml}", "12:14: log.level can't be \"inof\"",
        "12:28: log.format can't be \"yaml\""),
      ProblemCase("source: {name: \"${NOPE}\"}", "12:17: the environment variable NOPE is not set"),
      ProblemCase(
        "source: {name: \"a-${NOPE}\"}", "12:19: the environment variable NOPE is not set"),
      ProblemCase("log: {level: \"${A\"}", "12:15: a ${ without its }"),
      ProblemCase(
        "bridge: {name: \"${a-b}\"}", "12:17: the braces of this ${…} hold no variable's name"),
      ProblemCase("log:\n  <<: 5", "13:7: << takes a mapping"),
      ProblemCase("log:\n  ? [a]\n  : b", "13:5: a key that is not text"),
    ])
  func settings(_ test: ProblemCase) {
    #expect(Set(problems(base + test.yaml)) == Set(test.problems))
  }

  @Test(
    "streams",
    arguments: [
      ProblemCase("- {subjects: [a]}", "4:5: streams[1] has no name"),
      ProblemCase("- {name: A}", "4:5: streams[1] has no subjects"),
      ProblemCase("- {name: A, subjects: []}", "4:5: streams[1] has no subjects"),
      ProblemCase(
        "- {name: A, subjects: a}", "4:25: streams[1].subjects is a single value, not a list",
        "4:5: streams[1] has no subjects"),
      ProblemCase("- {name: A B, subjects: [a]}", "4:12: streams[1].name can't be \"A B\""),
      ProblemCase(
        "- {name: CHANGES, subjects: [a]}", "4:12: there is another stream named CHANGES"),
      ProblemCase(
        "- {name: A, subjects: [changes.a]}", "4:26: changes.a overlaps changes.> of stream CHANGES"
      ),
      ProblemCase("- {name: A, subjects: [a..b]}", "4:26: the subject \"a..b\" has an empty token"),
      ProblemCase(
        "- {name: A, subjects: [\"a.>.b\"]}", "4:26: the subject \"a.>.b\" has > before its end"),
      ProblemCase(
        "- {name: A, subjects: [\"a.b*\"]}",
        "4:26: the subject \"a.b*\" has a wildcard inside a token"),
      ProblemCase(
        "- {name: A, subjects: [\"a b\"]}", "4:26: the subject \"a b\" holds white space"),
      ProblemCase(
        "- {name: A, subjects: [\"$JS.x\"]}",
        "4:26: the subject \"$JS.x\" starts with $, which belongs to the server"),
      ProblemCase(
        "- {name: A, subjects: [a], ownership: mine}",
        "4:41: streams[1].ownership can't be \"mine\""),
      ProblemCase(
        "- {name: A, subjects: [a], publish: quick}", "4:39: streams[1].publish can't be \"quick\""),
      ProblemCase(
        "- {name: A, subjects: [a], max_age: 10}", "4:39: streams[1].max_age can't be \"10\""),
      ProblemCase(
        "- {name: A, subjects: [a], max_age: 7 days}",
        "4:39: streams[1].max_age is \"7 days\", not a duration"),
      ProblemCase(
        "- {name: A, subjects: [a], max_bytes: 1 GB}",
        "4:41: streams[1].max_bytes is \"1 GB\", not a size"),
      ProblemCase(
        "- {name: A, subjects: [a], max_aeg: 7d}", "4:30: unknown key max_aeg in streams[1]"),
      ProblemCase(
        "- {name: A, subject: [a]}", "4:15: unknown key subject in streams[1]",
        "4:5: streams[1] has no subjects"),
      ProblemCase(
        "- {name: A, subjects: [a], consumers: x}",
        "4:41: streams[1].consumers is a single value, not a list"),
      ProblemCase(
        "- {name: A, subjects: [a], consumers: [{ack_wait: 1s}]}",
        "4:42: streams[1].consumers[0] has no durable_name"),
      ProblemCase(
        "- {name: A, subjects: [a], consumers: [{name: c, ack_wait: x}]}",
        "4:62: streams[1].consumers[0].ack_wait is \"x\", not a duration"),
      ProblemCase(
        "- {name: A, subjects: [a], consumers: [{name: c, backoff: [1s, x]}]}",
        "4:66: streams[1].consumers[0].backoff[1] is \"x\", not a duration"),
      ProblemCase(
        "- {name: A, subjects: [a], consumers: [{name: c, ack_wiat: 1s}]}",
        "4:52: unknown key ack_wiat in streams[1].consumers[0]"),
      ProblemCase(
        "- {name: A, subjects: [a], consumers: [{name: c, filter_subject: a..b}]}",
        "4:68: the subject \"a..b\" has an empty token"),
      ProblemCase(
        "- {name: A, subjects: [a], consumers: [{name: c}, {name: c}]}",
        "4:60: there is another consumer named c"),
    ])
  func streams(_ test: ProblemCase) {
    // Behind the one stream of the base, in its list.
    var lines = base.split(separator: "\n", omittingEmptySubsequences: false)
    lines.insert("  \(test.yaml)", at: 3)
    #expect(Set(problems(lines.joined(separator: "\n"))) == Set(test.problems))
  }

  @Test(
    "rules",
    arguments: [
      ProblemCase("match: {namespace: a.b}\nsubject: changes.x", "12:5: rules[1] has no name"),
      ProblemCase("name: r\nsubject: changes.x", "12:5: rules[1] has no match"),
      ProblemCase(
        "name: r\nmatch: {}\nsubject: changes.x", "13:12: rules[1].match has no namespace"),
      ProblemCase("name: r\nmatch: {namespace: a.b}", "12:5: rules[1] has no subject"),
      ProblemCase(
        "name: changes\nmatch: {namespace: a.b}\nsubject: changes.x",
        "12:11: there is another rule named changes"),
      ProblemCase(
        "name: r 1\nmatch: {namespace: a.b}\nsubject: changes.x",
        "12:11: rules[1].name can't be \"r 1\""),
      ProblemCase(
        "name: unmatched\nmatch: {namespace: a.b}\nsubject: changes.x",
        "12:11: no rule can be named unmatched"),
      ProblemCase(
        "name: r\ngroup: g g\nmatch: {namespace: a.b}\nsubject: changes.x",
        "13:12: rules[1].group can't be \"g g\""),
      ProblemCase(
        "name: r\nmatch: {namespace: users}\nsubject: changes.x",
        "13:24: the namespace \"users\" has no dot"),
      ProblemCase(
        "name: r\nmatch: {namespace: users.}\nsubject: changes.x",
        "13:30: the namespace has no collection"),
      ProblemCase(
        "name: r\nmatch: {namespace: .users}\nsubject: changes.x",
        "13:24: the namespace has no database"),
      ProblemCase(
        "name: r\nmatch: {namespace: a$.b}\nsubject: changes.x",
        "13:25: a database's name can't hold $"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b, operations: [insert, upsert]}\nsubject: changes.x",
        "13:50: rules[1].match.operations can't be \"upsert\""),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b, operations: []}\nsubject: changes.x",
        "13:29: rules[1].match.operations is empty"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b, where: {a: 1}}\nsubject: changes.x",
        "13:37: a change event has no a"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b, op: [insert]}\nsubject: changes.x",
        "13:29: unknown key op in rules[1].match"),
      ProblemCase("name: r\nmatch: {namespace: a.b}\nsubject: \"\"", "14:15: the subject is empty"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.{documentKey._id",
        "14:22: a { without its }"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.documentKey._id}",
        "14:37: a } without its {"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.{a{b}}",
        "14:24: a { inside the placeholder that opens at character 9"),
      ProblemCase("name: r\nmatch: {namespace: a.b}\nsubject: changes.{}", "14:23: an empty path"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.{fullDoc.x}",
        "14:23: a change event has no fullDoc"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: 'changes.{documentKey}'",
        "14:24: documentKey is a document, not a single value"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.{ns}",
        "14:23: the path ns is not a single value"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.{operationType.x}",
        "14:37: operationType has no fields"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.{fullDocument..x}",
        "14:36: the path fullDocument..x has an empty part"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes..x",
        "14:22: the subject has an empty token"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: .changes",
        "14:14: the subject starts with a dot"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x.",
        "14:23: the subject ends with a dot"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.*", "14:22: a subject can't hold *"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.a b",
        "14:23: a subject can't hold a space"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: $SYS.x",
        "14:14: subjects that start with $ belong to the server"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: other.x",
        "14:14: stream CHANGES takes changes.>, which does not cover other.x"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: \"{documentKey._id}.x\"",
        "14:14: stream CHANGES takes changes.>, which does not cover *.x"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b, operations: [delete]}\nsubject: changes.{fullDocument.x}",
        "14:23: fullDocument.x has no value in any delete event"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b, operations: [insert]}\nsubject: changes.{updateDescription.updatedFields.x}",
        "14:23: updateDescription.updatedFields.x has no value in any insert event"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\nid: fixed",
        "15:9: the id fixed is the same for every event"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\nid: \"a {documentKey._id}\"",
        "15:11: an id can't hold a space"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\npayload: {envelope: cloudevent}",
        "15:25: rules[1].payload.envelope can't be \"cloudevent\""),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\npayload: {json: pretty}",
        "15:21: rules[1].payload.json can't be \"pretty\""),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\npayload: {include: [msg]}",
        "15:25: a path can't start with msg"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\npayload: {exclude: [fullDocument.a..b]}",
        "15:40: the path fullDocument.a..b has an empty part"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\npayload: {exclude: [lsid.id]}",
        "15:30: only lsid as a whole can be left out"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\npayload: {envelope: document, exclude: [fullDocument]}",
        "15:14: the envelope is document, and include and exclude leave nothing of it"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\npayload: {rename: {a: b}, redact: {c: hash}}",
        "15:24: a path can't start with a", "15:40: a path can't start with c"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\npayload: {full_document: always}",
        "15:30: rules[1].payload.full_document can't be \"always\""),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b, operations: [update]}\nsubject: \"changes.{fullDocument.x}\"\npayload: {full_document: off}",
        "14:24: fullDocument.x has no value in any update event"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\nevent_type: a b",
        "15:18: rules[1].event_type holds white space or other than printable ASCII"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\nschema: s.json",
        "15:13: rules[1].schema: s.json, at the schema: it can't be read: No such file or directory"
      ),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\nkv: {bucket: b}",
        "15:5: rules[1].kv: it is for delivery: kv"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\ndelivery: core",
        "14:14: stream CHANGES takes changes.> and would store the signals at changes.x"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\ndelivery: kv\nkv: {bucket: b, key: \"{documentKey._id}\"}",
        "15:18: there is no bucket b"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: typing.x\ndelivery: core\non_invalid: dead_letter",
        "16:5: rules[1].on_invalid: signals have no dead letters"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: typing.x\ndelivery: core\nstream: CHANGES",
        "16:5: rules[1].stream: signals are stored nowhere"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: dlq.x\ndelivery: core",
        "1:1: the dead letters' stream would store the signals of rule r at dlq.x"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\non_invalid: ignore",
        "15:17: rules[1].on_invalid can't be \"ignore\""),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\ncontinue: 3",
        "15:15: rules[1].continue is \"3\", not true or false"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\nstream: CHANGE",
        "15:13: there is no stream CHANGE"),
      ProblemCase(
        "name: r\nmatch: {namespace: a.b}\nsubject: changes.x\nsubjects: x",
        "15:5: unknown key subjects in rules[1]"),
    ])
  func rules(_ test: ProblemCase) {
    // Behind the one rule of the base, as a second item.
    let indented = test.yaml.split(separator: "\n").joined(separator: "\n    ")
    #expect(Set(problems(base + "  - " + indented)) == Set(test.problems))
  }

  @Test("with several streams a rule names its own") func streamNeeded() {
    let yaml = """
      streams:
        - { name: A, subjects: ["a.>"] }
        - { name: B, subjects: ["b.>"] }
      rules:
        - name: r
          match: { namespace: a.b }
          subject: a.x
      """
    #expect(problems(yaml) == ["5:5: rules[0] has no stream"])
  }

  @Test("remedies say what would be right") func remedies() {
    func remedy(_ yaml: String) -> [String] { problemList(base + yaml).map(\.remedy) }
    #expect(remedy("sorce: {}") == ["Did you mean source?"])
    #expect(remedy("source: {reader: oplogg}") == ["Did you mean oplog?"])
    #expect(remedy("xyzzy: {}").first?.hasPrefix("Known here: source, nats, bridge") == true)
    #expect(remedy("http: {listen: 8080}") == ["Write host:port, such as 127.0.0.1:8080."])
    #expect(remedy("log: {level: inof}") == ["Did you mean info?"])
  }

  @Test("all problems at once, in the order of the file") func allAtOnce() {
    let yaml = """
      source: { uri: "http://x", name: "a b" }
      nats: { servers: ["ftp://h"] }
      streams:
        - { name: A, subjects: ["a.>"], max_age: soon }
      rules:
        - name: r
          match: { namespace: nodot, operations: [insrt] }
          subject: a..{nothing}
          stream: C
      log: { level: loud }
      speed: fast
      """
    #expect(
      problems(yaml) == [
        "1:16: a MongoDB URI starts with mongodb:// or mongodb+srv://",
        "1:34: source.name can't be \"a b\"",
        "2:20: a NATS server can't be reached by ftp://",
        "4:44: streams[0].max_age is \"soon\", not a duration",
        "7:25: the namespace \"nodot\" has no dot",
        "7:45: rules[0].match.operations can't be \"insrt\"",
        "8:16: the subject has an empty token",
        "9:13: there is no stream C",
        "10:15: log.level can't be \"loud\"",
        "11:1: unknown key speed",
      ])
  }

  @Test("printed as file:line:column: message. remedy") func printed() {
    #expect(throws: ConfigurationProblems.self) { try configuration("log: {level: inof}\n" + base) }
    do throws(ConfigurationProblems) {
      _ = try BridgeConfiguration.parse(
        yaml: "log: {level: inof}\n" + base + "http: 5", file: "t.yaml", environment: [:])
    } catch {
      #expect(
        error.description == """
          t.yaml:1:14: log.level can't be "inof". Did you mean info?
          t.yaml:13:7: http is a single value. Write a mapping of keys and values.
          """)
    }
  }

  @Test("a file that is not there") func noFile() {
    #expect(throws: ConfigurationProblems.self) {
      try BridgeConfiguration.load(path: "/nonexistent/tailrace.yaml", environment: [:])
    }
    do throws(ConfigurationProblems) {
      _ = try BridgeConfiguration.load(path: "/nonexistent/tailrace.yaml", environment: [:])
    } catch {
      #expect(
        error.description
          == "/nonexistent/tailrace.yaml: the configuration can't be read: No such file or "
          + "directory. Name the file with --config or TAILRACE_CONFIG.")
    }
  }
}
