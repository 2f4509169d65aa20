import BridgeConfiguration
import Testing

/// Whatever stands where a number should, the file is taken or the key is named.
@Suite("Numbers in a configuration")
struct ExtremeNumberTests {
  static let values = [
    "0", "-0", "-1", "1", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "-9223372036854775809", "1e400", "-1e400", "1.5", ".inf", "-.inf",
    ".nan",
    "inf", "nan", "0x10", "1_000", "٣", "99999999999d", "106751d", "106752d", "-1s", "1d1d1d",
    "0.5s",
    "9223372036854775807ns", "9223372036854775808ns", "9223372036854775807ms", "8388608TiB",
    "9007199254740993TiB", "-1KiB", "1KB", "\"\"", "~", "[1]", "{a: 1}", "4294967296.1",
    "1.4294967296", "1.2.3", "99999999999999999999999999999999999999.1",
  ]

  static let places: [(key: String, yaml: @Sendable (String) -> String)] = [
    ("checkpoint_interval", { "bridge: {checkpoint_interval: \($0)}\n" }),
    ("lease", { "bridge: {lease: \($0)}\n" }),
    ("start", { "source: {start: \($0)}\n" }),
    ("listen", { "http: {listen: \"127.0.0.1:\($0.filter { $0 != "\"" })\"}\n" }),
    ("servers", { "nats: {servers: [\"nats://127.0.0.1:\($0.filter { $0 != "\"" })\"]}\n" }),
  ]

  @Test(arguments: values) func `of the top level`(value: String) {
    for place in Self.places {
      for problem in problemList(base + place.yaml(value)) {
        // Where it stands.
        #expect(problem.line == 12, "\(place.yaml(value)): \(problem.message)")
      }
    }
  }

  @Test(
    arguments: [
      "max_age", "duplicate_window", "max_msgs", "max_bytes", "max_msg_size", "num_replicas",
      "max_msgs_per_subject", "max_consumers", "first_seq",
    ])
  func `of a stream`(key: String) {
    for value in Self.values {
      let yaml = base.replacing(
        "      subjects: [\"changes.>\"]\n",
        with: "      subjects: [\"changes.>\"]\n      \(key): \(value)\n")
      for problem in problemList(yaml) {
        #expect(problem.message.contains(key) || problem.message.contains("YAML"))
      }
    }
  }

  @Test(arguments: ["ack_wait", "max_deliver", "inactive_threshold", "max_ack_pending", "backoff"])
  func `of a consumer`(key: String) {
    for value in Self.values {
      let yaml = base.replacing(
        "      subjects: [\"changes.>\"]\n",
        with:
          "      subjects: [\"changes.>\"]\n      consumers: [{durable_name: d, \(key): \(value)}]\n"
      )
      for problem in problemList(yaml) {
        #expect(problem.message.contains(key) || problem.message.contains("YAML"))
      }
    }
  }

  @Test(arguments: values) func `of a condition`(value: String) {
    for form in [
      value, "{$gt: \(value)}", "{$in: [\(value)]}", "{$type: \(value)}", "{$exists: \(value)}",
      "{$gte: {$numberLong: \"\(value)\"}}", "{$lt: {$numberDecimal: \"\(value)\"}}",
      "{$eq: {$date: {$numberLong: \"\(value)\"}}}", "{$eq: {$date: \(value)}}",
      "{$eq: {$timestamp: {t: \(value), i: \(value)}}}", "{$ne: {$numberDecimal: \"1E\(value)\"}}",
    ] {
      let yaml = base.replacing(
        "        operations: [insert, update]\n",
        with: "        operations: [insert, update]\n        where: {fullDocument.n: \(form)}\n")
      // Read to its end, whatever it is.
      _ = problems(yaml)
    }
  }
}
