import BSON
import Foundation
import Oplog
import Testing

/// Prints the cost of an entry, without asserting it. The goal in a release build is 0.5 µs for an insert
/// and 1 µs for an update.
@Suite struct TimingTests {
  private static func measure(
    _ name: String, rounds: Int = 20_000, after open: [String] = [], _ json: String
  ) throws {
    var decoder = OplogDecoder()
    for entry in open { _ = try decoder.events(entry) }
    var events = 0
    var best = Double.infinity
    try Document(json).use { entry in
      for _ in 0..<5 {
        let start = threadTime()
        for _ in 0..<rounds {
          _ = try decoder.begin(entry)
          while let event = try decoder.next() { events += event.namespace.isEmpty ? 0 : 1 }
        }
        best = min(best, threadTime() - start)
      }
    }
    #expect(events >= rounds * 5)
    print("oplog: \(name), \(Int(best * 1e9 / Double(rounds))) ns an entry")
  }

  /// Seconds of CPU time, since other tests run concurrently.
  private static func threadTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  private static let tail =
    #""ui":{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"04"}},"ts":{"$timestamp":"#
    + #"{"t":7,"i":3}},"t":{"$numberLong":"1"},"v":{"$numberLong":"2"},"#
    + #""wall":{"$date":{"$numberLong":"1795433960037"}}"#
  private static let message =
    #"{"_id":{"$oid":"6b0425f54e92f8574f32c45e"},"rid":"GENERAL","msg":"hello","u":{"name":"x"}}"#
  private static let session =
    #""lsid":{"id":"s"},"txnNumber":{"$numberLong":"4"},"stmtId":0,"#
    + #""prevOpTime":{"ts":{"$timestamp":{"t":0,"i":0}},"t":{"$numberLong":"-1"}}"#

  @Test func costs() throws {
    let id = #"{"_id":{"$oid":"6b0425f54e92f8574f32c45e"}}"#
    try Self.measure(
      "insert", #"{"op":"i","ns":"chat.message","o":\#(Self.message),"o2":\#(id),\#(Self.tail)}"#)
    try Self.measure(
      "insert, retryable",
      #"{\#(Self.session),"op":"i","ns":"chat.message","o":\#(Self.message),"#
        + #""o2":\#(id),\#(Self.tail)}"#)
    try Self.measure(
      "insert of 4.4", #"{"op":"i","ns":"chat.message","o":\#(Self.message),\#(Self.tail)}"#)
    let diff =
      #"{"$v":2,"diff":{"u":{"editedAt":{"$date":{"$numberLong":"1795433960037"}},"msg":"hi"},"#
      + #""i":{"x":1},"su":{"u":{"name":"y"}}}}"#
    try Self.measure(
      "update", #"{"op":"u","ns":"chat.message","o":\#(diff),"o2":\#(id),\#(Self.tail)}"#)
    try Self.measure("delete", #"{"op":"d","ns":"chat.message","o":\#(id),\#(Self.tail)}"#)
    let open = ["one", "two", "three"].map { Transaction(session: $0, number: 9).part(5, 1) }
    try Self.measure(
      "insert, retryable, while three transactions are open", after: open,
      #"{\#(Self.session),"op":"i","ns":"chat.message","o":\#(Self.message),"#
        + #""o2":\#(id),\#(Self.tail)}"#)
    let inner = #"{"op":"i","ns":"chat.message","o":\#(Self.message),"o2":\#(id)}"#
    let list = Array(repeating: inner, count: 100).joined(separator: ",")
    try Self.measure(
      "transaction of 100 inserts", rounds: 200,
      #"{\#(Self.session),"op":"c","ns":"admin.$cmd","o":{"applyOps":[\#(list)]},\#(Self.tail)}"#)
  }
}
