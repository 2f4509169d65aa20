import JetStream
import TestRandom
import Testing

private func frame(_ text: String) -> AckFrame {
  Array(text.utf8).withUnsafeBytes { AckFrame(payload: $0) }
}

@Suite struct AckFrameTests {
  @Test func `acks of single messages`() {
    #expect(frame(#"{"stream":"T","seq":7}"#) == .stored(sequence: 7, duplicate: false, count: nil))
    #expect(
      frame(#"{"stream":"T","seq":2,"duplicate": true}"#)
        == .stored(sequence: 2, duplicate: true, count: nil))
    #expect(
      frame(#"{"stream":"T","domain":"d","seq":0,"duplicate":true}"#)
        == .stored(sequence: 0, duplicate: true, count: nil))
  }

  @Test func `acks of batches`() {
    #expect(
      frame(#"{"stream":"T","seq":22,"batch":"A1","count":3}"#)
        == .stored(sequence: 22, duplicate: false, count: 3))
    #expect(frame(#"{"type":"ack","seq":400,"msgs":200}"#) == .flow(batchSequence: 400, every: 200))
    #expect(frame(#"{"type":"gap","last_seq":5,"seq":6}"#) == .gap(batchSequence: 6))
    #expect(frame("") == .receipt)
  }

  @Test func `refusals carry the server's own code`() {
    #expect(
      frame(
        #"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"T","seq":0}"#
      ) == .refused(code: 10071, status: 400))
    #expect(
      frame(
        #"{"type":"err","seq":2,"error":{"code":400,"err_code":10071,"description":"x \"y\" }"}}"#)
        == .refused(code: 10071, status: 400))
    #expect(frame(#"{"error":{"code":503}}"#) == .refused(code: 0, status: 503))
  }

  @Test(arguments: [
    "{", "[]", "x", #"{"stream":"T"}"#, #"{"seq":-1}"#, #"{"seq":99999999999999999999}"#, "\0",
  ])
  func `anything else is unknown, never an ack`(text: String) {
    #expect(frame(text) == .unknown)
  }

  @Test func `mutated answers never crash and never turn a refusal into an ack`() {
    var random = SeededRandom(seed: 42)
    let refusal = Array(
      #"{"error":{"code":400,"err_code":10071,"description":"wrong"},"stream":"T","seq":0}"#.utf8)
    for _ in 0..<100_000 {
      var bytes = refusal
      // One byte inside the numbers or the punctuation, or a truncation.
      if random.next() % 2 == 0 {
        bytes.removeLast(Int(random.next() % UInt64(bytes.count)) + 1)
      } else {
        bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      }
      let got = bytes.withUnsafeBytes { AckFrame(payload: $0) }
      if case .stored(let sequence, _, _) = got { #expect(sequence == 0 || bytes.contains(0x22)) }
    }
  }
}
