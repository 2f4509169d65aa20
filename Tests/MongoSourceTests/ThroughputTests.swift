import Foundation
import MongoSource
import Testing

/// Prints the cost of reading a backlog; asserts only that all of it arrives.
@Suite(.needsMongod())
struct ThroughputTests {
  @Test func aBacklogIsRead() async throws {
    let lab = try await MongoLab.shared.value
    let options = MongoSourceOptions(uri: lab.uri)
    let start = try await majorityPosition(options)
    let writer = try MongoWriter(lab.uri)
    let total = 120_000
    for n in stride(from: 0, to: total, by: 2000) {
      try await writer.insert(n..<n + 2000, into: "throughput", filler: 230)
    }
    let (changes, change) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let reader = OplogReader(options: options, logger: silentLogger) { change.yield() }
    let began = (clock: ContinuousClock.now, cpu: Self.cpuSeconds())
    reader.restart(at: start)
    var read = 0
    var bytes = 0
    var waiting = changes.makeAsyncIterator()
    while read < total {
      guard let batch = reader.next() else {
        try #require(reader.failure == nil)
        _ = await waiting.next()
        continue
      }
      read += batch.count
      bytes += batch.byteCount
    }
    let cpu = Self.cpuSeconds() - began.cpu
    let wall = (ContinuousClock.now - began.clock) / .seconds(1)
    print(
      "oplog reading: \(read) entries of \(bytes / read) B, \(Int(Double(read) / wall)) entries/s, "
        + "\(String(format: "%.2f", cpu / Double(read) * 1e6)) µs CPU/entry (whole test process)")
    reader.stop()
    #expect(read >= total)
  }

  private static func cpuSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
