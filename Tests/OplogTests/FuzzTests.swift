import BSON
import Oplog
import Testing

/// Captured entries with seeded damage: each must end, in events or in an error of the decoder's
/// own. (That it stays within the bytes is best seen with `--sanitize=address`.)
@Suite struct FuzzTests {
  /// SplitMix64: the same damage in every run.
  private struct Random: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  private static let types: [UInt8] = Array(0x00...0x14) + [0x7F, 0xFF]
  private static let letters = Array("abdilsuv$0129._".utf8)

  private static func seeds() throws -> [[UInt8]] {
    var seeds: [[UInt8]] = []
    try fixture("scenarios") { scenario in
      for entry in try scenario.documents(in: "entries") where entry.bytes.count < 2000 {
        seeds.append(Array(entry.bytes))
      }
    }
    try fixture("updates") { pair in
      guard let o = try pair.first("o")?.document else { return }
      let json = canonicalJSON(Array(o.bytes))
      seeds.append(try Document(#"{\#(head),"op":"u","ns":"a.b","o":\#(json),"o2":{}}"#).bytes)
    }
    return seeds
  }

  /// Damages `bytes` in one of several ways, mostly such that the frame still fits.
  private static func damage(_ bytes: inout [UInt8], _ random: inout Random) {
    let at = Int.random(in: 4..<bytes.count, using: &random)
    switch Int.random(in: 0..<8, using: &random) {
    case 0: bytes[at] = UInt8.random(in: .min ... .max, using: &random)
    case 1: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 2: bytes[at] = types[Int.random(in: 0..<types.count, using: &random)]
    case 3: bytes[at] = letters[Int.random(in: 0..<letters.count, using: &random)]
    case 4:  // a length, somewhere
      let values: [UInt32] = [0, 1, 4, 5, 6, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF]
      let value = values[Int.random(in: 0..<values.count, using: &random)]
      for i in 0..<4 where at + i < bytes.count {
        bytes[at + i] = UInt8(truncatingIfNeeded: value >> (8 * i))
      }
    case 5:  // a run copied from elsewhere
      let from = Int.random(in: 4..<bytes.count, using: &random)
      for i in 0..<Int.random(in: 1...24, using: &random)
      where at + i < bytes.count && from + i < bytes.count {
        bytes[at + i] = bytes[from + i]
      }
    case 6:  // cut
      bytes.removeSubrange(at..<min(at + Int.random(in: 1...16, using: &random), bytes.count))
    default:  // grown
      let run = UInt8.random(in: .min ... .max, using: &random)
      bytes.insert(
        contentsOf: repeatElement(run, count: Int.random(in: 1...16, using: &random)), at: at)
    }
    guard bytes.count >= 5, Bool.random(using: &random) || Bool.random(using: &random) else {
      return
    }
    let length = UInt32(bytes.count)
    for i in 0..<4 { bytes[i] = UInt8(truncatingIfNeeded: length >> (8 * i)) }
    bytes[bytes.count - 1] = 0
  }

  /// Reads every byte that an event shows, so that a view outside the entry is noticed.
  private static func touch(_ event: ChangeEvent) -> UInt64 {
    var sum: UInt64 = 0
    for view in [event.documentKey, event.fullDocument, event.updateDescription, event.lsid] {
      for byte in view?.bytes ?? .init(start: nil, count: 0) { sum &+= UInt64(byte) }
    }
    for bytes in [event.namespace, event.database, event.collection, event.to] {
      for byte in bytes ?? .init(start: nil, count: 0) { sum &+= UInt64(byte) }
    }
    return sum
  }

  private enum Outcome {
    case events(Int)
    case error, notADocument, unending
  }

  private static func run(
    _ bytes: [UInt8], _ decoder: inout OplogDecoder, _ sum: inout UInt64
  ) -> Outcome {
    // A buffer of exactly this size, for the address sanitizer's sake.
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    guard let entry = try? BSONView(UnsafeRawBufferPointer(buffer)) else { return .notADocument }
    do {
      _ = try decoder.begin(entry)
      var count = 0
      while let event = try decoder.next() {
        sum &+= touch(event)
        count += 1
        if count > bytes.count { return .unending }
      }
      return .events(count)
    } catch { return .error }
  }

  @Test func damagedEntriesEndInEventsOrAnError() throws {
    let seeds = try Self.seeds()
    var random = Random(state: 20_240_229)
    var decoder = OplogDecoder()
    var (events, silent, errors, notDocuments, unending) = (0, 0, 0, 0, 0)
    var sum: UInt64 = 0
    for _ in 0..<400_000 {
      var bytes = seeds[Int.random(in: 0..<seeds.count, using: &random)]
      for _ in 0..<Int.random(in: 1...4, using: &random) where bytes.count > 8 {
        Self.damage(&bytes, &random)
      }
      switch Self.run(bytes, &decoder, &sum) {
      case .events(0): silent += 1
      case .events: events += 1
      case .error: errors += 1
      case .notADocument: notDocuments += 1
      case .unending: unending += 1
      }
    }
    #expect(unending == 0)
    #expect(events + silent + errors + notDocuments == 400_000)
    // The damage is neither too much nor too little to say something.
    #expect(events > 40_000)
    #expect(errors > 40_000)
    #expect(sum > 0)
    // After all that, the decoder still works.
    #expect(try decoder.events(#"{\#(head),"op":"d","ns":"a.b","o":{"_id":1}}"#).count == 1)
  }

  /// Every prefix of an entry, with its length made to fit and without.
  @Test func truncatedEntriesEndInAnError() throws {
    var decoder = OplogDecoder()
    var sum: UInt64 = 0
    for seed in try Self.seeds() {
      for length in stride(from: 0, to: seed.count, by: 3) {
        var bytes = Array(seed[..<length])
        #expect(Self.isNotADocument(Self.run(bytes, &decoder, &sum)))
        guard length >= 5 else { continue }
        for i in 0..<4 { bytes[i] = UInt8(truncatingIfNeeded: UInt32(length) >> (8 * i)) }
        bytes[length - 1] = 0
        if case .unending = Self.run(bytes, &decoder, &sum) { Issue.record("unending") }
      }
    }
  }

  private static func isNotADocument(_ outcome: Outcome) -> Bool {
    if case .notADocument = outcome { true } else { false }
  }
}
