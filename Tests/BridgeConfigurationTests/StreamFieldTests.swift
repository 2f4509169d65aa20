import BridgeConfiguration
import JSON
import Testing

@Suite("values that servers refuse") struct StreamFieldTests {
  @Test(
    "are errors",
    arguments: [
      ("num_replicas: three", "num_replicas can't be \"three\""),
      ("num_replicas: 6", "num_replicas can't be \"6\""),
      ("storage: ram", "storage can't be \"ram\""),
      ("retention: limit", "retention can't be \"limit\""),
      ("discard: newest", "discard can't be \"newest\""), ("max_msgs: many", "max_msgs can't be"),
      ("num_replicas: 0", "num_replicas can't be \"0\""),
      ("num_replicas: null", "num_replicas has no value"),
      ("compression: gzip", "compression can't be \"gzip\""),
      ("allow_direct: yes!", "allow_direct can't be"), ("max_age: 10", "max_age can't be \"10\""),
      ("max_age: -1", "max_age can't be"), ("duplicate_window: -5s", "not a duration"),
      ("max_age: 1m, duplicate_window: 2m", "it is longer than max_age"),
      ("discard_new_per_subject: true, max_msgs_per_subject: 1", "it needs discard: new"),
      ("allow_rollup_hdrs: true, deny_purge: true", "roll-ups purge"),
      ("mirror_direct: true", "the stream is no mirror"), ("sealed: true", "sealed"),
      ("no_ack: true", "acknowledged"), ("mirror: { name: X }", "a mirror"),
      ("sources: [{ name: X }]", "only producer"), ("persist_mode: async", "could be lost"),
      ("max_msg_size: 3GiB", "max_msg_size can't be"), ("metadata: [a]", "can't be a list"),
      ("placement: { tags: a }", "placement.tags can't be a single value"),
      ("subject_delete_marker_ttl: 10ms", "can't be \"10ms\""), ("first_seq: -1", "first_seq"),
      ("consumers: [{ durable_name: c, deliver_policy: by_start_sequence }]", "opt_start_seq"),
      ("consumers: [{ durable_name: c, opt_start_seq: 5 }]", "by_start_sequence"),
      ("consumers: [{ durable_name: c, deliver_policy: last_per_subject }]", "filter_subject"),
      ("consumers: [{ durable_name: c, flow_control: true }]", "for push consumers"),
      ("consumers: [{ durable_name: c, num_replicas: 3 }]", "the stream has 1"),
      ("consumers: [{ durable_name: a.b }]", "can't be named"),
      ("consumers: [{ durable_name: c, backoff: [1s, 2s], max_deliver: 1 }]", "more steps"),
      ("consumers: [{ durable_name: c, opt_start_time: yesterday }]", "can't be \"yesterday\""),
      ("consumers: [{ durable_name: c, sample_freq: often }]", "sample_freq can't be"),
      ("consumers: [{ durable_name: c, filter_subject: s.a, filter_subjects: [s.b] }]", "too"),
      ("consumers: [{ durable_name: c, ack_policy: explict }]", "ack_policy can't be"),
    ]) func refused(_ field: String, _ message: String)
  {
    let found = problems(rule("match: { namespace: a.b }\n    subject: s.x", stream: ", \(field)"))
    #expect(found.count == 1 && found[0].contains(message), "\(found)")
  }

  @Test("quotes don't matter, and what servers may yet learn passes") func taken() throws {
    let c = try configuration(
      rule(
        "match: { namespace: a.b }\n    subject: s.x",
        stream: ", num_replicas: \"3\", allow_direct: \"true\", compression: \"s2\", new_field: x"))
    #expect(c.streams[0].settings["num_replicas"] == 3)
    #expect(c.streams[0].settings["allow_direct"] == true)
    #expect(c.streams[0].settings["compression"] == "s2")
  }
}
