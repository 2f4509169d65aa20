import Oplog
import Parity
import Testing

/// Sequences and positions come from servers and headers: no value may trap.
@Suite("Sequences and positions at their limits")
struct ExtremeNumberTests {
  @Test(arguments: [0, 1, UInt64.max / 2, UInt64.max - 1, UInt64.max])
  func `a ledger accepts any sequence`(sequence: UInt64) throws {
    let first = EventPosition(entry: OplogPosition(seconds: 0, increment: 0), index: 0)
    let last = EventPosition(entry: OplogPosition(seconds: .max, increment: .max), index: .max)
    for kind in [ObservedRecord.Kind.own, .foreign, .snapshot, .replayed] {
      var ledger = StreamLedger(first...last, firstSequence: sequence)
      ledger.expect(last, MessageDigest())
      for number in [sequence, 0, UInt64.max, 1] {
        _ = ledger.observe(
          ObservedRecord(sequence: number, kind: kind, position: last, digest: MessageDigest()))
      }
      ledger.endOfStream(at: sequence)
      ledger.endOfStream(at: .max)
      let (suspects, _) = ledger.finish()
      var reconciliation = Reconciliation(holes: ledger.holes)
      _ = reconciliation.rule(missing: [], surplus: [])
      #expect(suspects.count <= 1)
    }
  }

  @Test(
    arguments: [
      "4294967296.0.0", "0.4294967296.0", "0.0.4294967296", "-1.0.0", "1.-1.0", "1.0.-1", "1.0",
      "1.0.0.0", "", "..", "1..0", " 1.0.0", "1.0.0 ", "１.0.0", "1e3.0.0", "0x1.0.0",
      "99999999999999999999999999999.0.0", "NaN.0.0", "inf.0.0",
    ])
  func `invalid positions`(text: String) {
    #expect(EventPosition(text) == nil)
  }

  @Test func `the greatest position`() {
    let text = "4294967295.4294967295.4294967295"
    #expect(EventPosition(text)?.description == text)
  }
}
