import BSON
import JetStream
import Testing

/// Whatever numbers a server sends, a lane answers with progress or an error, and never traps.
@Suite("Numbers in a server's answers")
struct ExtremeNumberTests {
  private static let numbers = [
    "0", "1", "2", "200", "4096", "20000", "20001", "4294967296", "9223372036854775807",
    "9223372036854775808", "18446744073709551614", "18446744073709551615", "18446744073709551616",
    "-1", "1e300", "99999999999999999999999999",
  ]

  private func lane(_ mode: PublishProtocol, base: UInt64, exclusive: Bool) -> PublishLane {
    let lane = PublishLane(
      LaneOptions(
        stream: "T", mode: mode, exclusive: exclusive, baseSequence: base, inbox: "_IN.0",
        batchPrefix: "b"))
    for number in 0..<(mode == .single ? 1 : 3) {
      lane.beginMessage()
      lane.output.append("t.\(number)")
      lane.beginHeaders()
      lane.output.append("Nats-Msg-Id: m\(number)\r\n")
      lane.beginBody()
      lane.output.append("{}")
      lane.endMessage()
    }
    return lane
  }

  private func answer(_ lane: PublishLane, _ token: String, _ payload: String) {
    _ = try? ack(lane, token, payload)
  }

  @Test(arguments: PublishProtocol.allCases) func `acks with any number`(mode: PublishProtocol) {
    for base in [0, 10, UInt64.max - 1, UInt64.max] {
      for number in Self.numbers {
        for other in Self.numbers {
          let payloads = [
            #"{"stream":"T","seq":\#(number)}"#, #"{"seq":\#(number),"duplicate":true}"#,
            #"{"seq":\#(number),"batch":"b","count":\#(other)}"#,
            #"{"type":"ack","seq":\#(number),"msgs":\#(other)}"#,
            #"{"type":"gap","last_seq":\#(number),"seq":\#(other)}"#,
            #"{"error":{"code":\#(number),"err_code":\#(other)}}"#,
          ]
          for payload in payloads {
            let lane = lane(mode, base: base, exclusive: base % 2 == 0)
            lane.seal()
            answer(lane, "0", payload)
            _ = lane.canSend
            _ = lane.waitsForSeal
            #expect(lane.inFlight <= 3)
            answer(lane, number, payload)
            #expect(lane.inFlight >= 0)
          }
        }
      }
    }
  }

  @Test func `a flow that is wider than a batch stands for a whole batch`() {
    let lane = lane(.fast, base: 0, exclusive: false)
    answer(lane, "0", #"{"type":"ack","seq":3,"msgs":18446744073709551615}"#)
    // A flow makes room; only a batch's end settles.
    #expect(lane.canSend && lane.inFlight == 3)
  }
}
