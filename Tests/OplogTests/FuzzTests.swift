import BSON
import Foundation
import Oplog
import TestRandom
import Testing

/// Captured entries with seeded corruption: each must yield events or a decoder error. (Run with
/// `--sanitize=address` to detect reads out of bounds.)
///
/// `FUZZ_ROUNDS` sets the number of entries per test.
@Suite struct FuzzTests {
  private static let rounds =
    ProcessInfo.processInfo.environment["FUZZ_ROUNDS"].flatMap(Int.init) ?? 200_000

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

  /// Corrupts `bytes` in one of several ways, mostly with a valid outer frame.
  private static func damage(_ bytes: inout [UInt8], _ random: inout SeededRandom) {
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

  /// Reads every byte of an event's views, to detect views out of bounds.
  private static func touch(_ event: ChangeEvent) -> UInt64 {
    var sum: UInt64 = 0
    for view in [
      event.documentKey, event.fullDocument, event.updateDescription, event.lsid,
      event.operationDescription, event.stateBeforeChange,
    ] {
      for byte in view?.bytes ?? .init(start: nil, count: 0) { sum &+= UInt64(byte) }
    }
    for bytes in [
      event.namespace, event.database, event.collection, event.to, event.collectionUUID,
    ] {
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
    // A buffer of exactly this size, for the address sanitizer.
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    guard let entry = try? BSONView(UnsafeRawBufferPointer(buffer)) else { return .notADocument }
    do {
      _ = try decoder.begin(entry)
      let kept = decoder.transactionBytesHeld + decoder.transactionBytesSpilled
      var count = 0
      while let event = try decoder.next() {
        sum &+= touch(event)
        count += 1
        if count > bytes.count + kept { return .unending }
      }
      return .events(count)
    } catch { return .error }
  }

  @Test func damagedEntriesEndInEventsOrAnError() throws {
    let seeds = try Self.seeds()
    var random = SeededRandom(seed: 20_240_229)
    let rounds = Self.rounds
    var decoder = OplogDecoder(transactionMemory: 4000)
    var (events, silent, errors, notDocuments, unending) = (0, 0, 0, 0, 0)
    var sum: UInt64 = 0
    for round in 0..<rounds {
      if round % 500 == 0 {
        decoder.forgetTransactions()
        decoder.disambiguatesPaths.toggle()
      }
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
    #expect(events + silent + errors + notDocuments == rounds)
    // The corruption yields enough of both outcomes.
    #expect(events > rounds / 10)
    #expect(errors > rounds / 10)
    #expect(sum > 0)
    // After all that, the decoder still works.
    #expect(try decoder.events(#"{\#(head),"op":"d","ns":"a.b","o":{"_id":1}}"#).count == 1)
  }

  /// Captured and constructed transactions with several entries and prepared ones, with some entries
  /// corrupted, duplicated, omitted or out of order.
  private static func sequences() throws -> [[[UInt8]]] {
    var sequences: [[[UInt8]]] = []
    try fixture("scenarios") { scenario in
      guard try scenario.text("scenario")?.hasPrefix("txn.") == true else { return }
      sequences.append(try scenario.documents(in: "entries").map { Array($0.bytes) })
    }
    for seed in 1...20 as ClosedRange<UInt64> {
      sequences.append(RestartTests.Workload(seed: seed, entries: 40).entries.map(\.bytes))
    }
    return sequences
  }

  @Test func damagedTransactionsEndInEventsOrAnError() throws {
    let sequences = try Self.sequences()
    let rounds = Self.rounds
    let budget = 1500
    var random = SeededRandom(seed: 20_251_125)
    var decoder = OplogDecoder(transactionMemory: budget)
    var (read, events, silent, errors, missing, spilled, mostOpen) = (0, 0, 0, 0, 0, 0, 0)
    var sum: UInt64 = 0
    while read < rounds {
      for entry in sequences[Int.random(in: 0..<sequences.count, using: &random)] {
        var bytes = entry
        var copies = 1
        switch Int.random(in: 0..<16, using: &random) {
        case 0: copies = 0
        case 1: copies = 2
        case 2...5: Self.damage(&bytes, &random)
        default: break
        }
        for _ in 0..<copies {
          read += 1
          switch Self.run(bytes, &decoder, &sum) {
          case .events(0): silent += 1
          case .events: events += 1
          case .error: errors += 1
          case .notADocument: break
          case .unending: Issue.record("unending")
          }
          #expect(decoder.transactionBytesHeld <= budget)
          if decoder.transactionBytesSpilled > 0 { spilled += 1 }
          mostOpen = max(mostOpen, decoder.openTransactions)
        }
        if Int.random(in: 0..<200, using: &random) == 0 { decoder.forgetTransactions() }
      }
      // Omitted or corrupted entries leave transactions open forever.
      if decoder.openTransactions > 100 { decoder.forgetTransactions() }
      if case .missing = Self.afterAGap(&decoder) { missing += 1 }
    }
    #expect(events > rounds / 20)
    #expect(errors > rounds / 100)
    #expect(missing > 0)
    #expect(spilled > rounds / 100)
    #expect(mostOpen > 5)
    #expect(sum > 0)
  }

  private enum Gap { case missing, other }

  /// A commit without earlier entries, to check that the decoder still reports them as missing.
  private static func afterAGap(_ decoder: inout OplogDecoder) -> Gap {
    do {
      _ = try decoder.events(Transaction(session: "gap").commit(5, after: 4))
      return .other
    } catch {
      guard let error = error as? OplogError,
        error.reason == .missingEarlierEntries(previous: place(4))
      else { return .other }
      return .missing
    }
  }

  /// Every prefix of an entry, with and without a corrected length.
  @Test func truncatedEntriesEndInAnError() throws {
    var decoder = OplogDecoder()
    var sum: UInt64 = 0
    for seed in try Self.seeds() {
      decoder.forgetTransactions()
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
