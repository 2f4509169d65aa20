import Bridge
import JSON
import Testing

@Suite("Whether a bucket keeps a checkpoint") struct BucketFitnessTests {
  private func refusal(_ changes: [String: JSONValue]) -> String? {
    var config: [String: JSONValue] = [
      "subjects": ["$KV.STATE.>"], "retention": "limits", "discard": "new", "storage": "file",
      "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": 1,
    ]
    config.merge(changes) { $1 }
    let members = config.map { JSONValue.Member($0.key, $0.value) }
    return BucketFitness("STATE", bridge: "chat", .object(members)).why
  }

  @Test func `as the bridge and others make buckets`() {
    #expect(refusal([:]) == nil)
    #expect(refusal(["discard": "old"]) == nil)
    #expect(refusal(["max_msgs_per_subject": 64, "max_bytes": 1_000_000]) == nil)
    #expect(refusal(["max_msgs": 1000]) == nil)
  }

  @Test(
    arguments: [
      (["max_age": 1_000_000_000], "max_age"), (["max_age": 86_400_000_000_000], "max_age"),
      (["max_msgs": 1_000_000, "discard": "old"], "max_msgs"),
      (["max_bytes": 1_000_000_000, "discard": "old"], "max_bytes"), (["max_msgs": 1], "max_msgs"),
      (["max_bytes": 300], "max_bytes"), (["max_msg_size": 100], "max_msg_size"),
      (["retention": "interest"], "retention"),
    ] as [([String: JSONValue], String)])
  func `what would remove a checkpoint, or refuse it`(_ changes: [String: JSONValue], _ why: String)
  {
    let refusal = refusal(changes)
    #expect(refusal?.contains(why) == true, "\(refusal ?? "none")")
  }
}
