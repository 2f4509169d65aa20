import BSON
import Foundation
import Oplog
import Testing

/// Open transactions use bounded memory, and unlinked files for the rest.
@Suite struct TransactionMemoryTests {
  /// A folder for one test's files.
  private struct Folder: ~Copyable {
    let path = "/tmp/tailrace-oplog-tests-\(UUID().uuidString)"

    init() throws {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The names in it: none, since files are unlinked as soon as they are open.
    var names: [String] {
      get throws { try FileManager.default.contentsOfDirectory(atPath: path) }
    }

    /// The number of open files of this folder.
    var openFiles: Int {
      get throws {
        let descriptors = "/proc/self/fd"
        return try FileManager.default.contentsOfDirectory(atPath: descriptors).count { name in
          let target = try? FileManager.default.destinationOfSymbolicLink(
            atPath: "\(descriptors)/\(name)")
          return target?.hasPrefix(path) == true
        }
      }
    }
  }

  /// An entry of `count` inserts from `id` on, each with `padding` bytes.
  private static func entry(
    _ into: inout ByteWriter, at: UInt32, after: UInt32, session: Int32 = 1, first id: Int32,
    count: Int32, padding: Int, mark: StaticString?
  ) {
    let text = [UInt8](repeating: UInt8(ascii: "x"), count: padding)
    into.removeAll()
    let whole = into.beginDocument()
    into.append(key: "ts", timestamp: at, increment: 1)
    into.append(key: "t", int64: 1)
    into.append(key: "op", string: "c")
    into.append(key: "ns", string: "admin.$cmd")
    let lsid = into.beginDocument(key: "lsid")
    into.append(key: "id", int32: session)
    into.endDocument(lsid)
    into.append(key: "txnNumber", int64: 1)
    let previous = into.beginDocument(key: "prevOpTime")
    into.append(key: "ts", timestamp: after, increment: after == 0 ? 0 : 1)
    into.endDocument(previous)
    let o = into.beginDocument(key: "o")
    let list = into.beginArray(key: "applyOps")
    for at in 0..<count {
      let operation = into.beginDocument(index: Int(at))
      into.append(key: "op", string: "i")
      into.append(key: "ns", string: "shop.orders")
      for key: StaticString in ["o", "o2"] {
        let document = into.beginDocument(key: key)
        into.append(key: "_id", int32: id + at)
        if key.utf8CodeUnitCount == 1 {
          text.withUnsafeBytes { into.append(key: "text", string: $0) }
        }
        into.endDocument(document)
      }
      into.endDocument(operation)
    }
    into.endDocument(list)
    if let mark {
      into.append(
        key: UnsafeRawBufferPointer(start: mark.utf8Start, count: mark.utf8CodeUnitCount),
        bool: true)
    }
    into.endDocument(o)
    into.endDocument(whole)
  }

  /// Takes the entry's events and checks that they are inserts of `id` on, with consecutive indexes.
  private static func take(
    _ entry: UnsafeRawBufferPointer, _ decoder: inout OplogDecoder, from id: Int32 = 0,
    padding: Int
  ) throws -> Int {
    _ = try decoder.begin(try BSONView(entry))
    var count = 0
    while let event = try decoder.next() {
      guard event.position.index == UInt32(count),
        try event.documentKey?.first("_id")?.int32 == id + Int32(count),
        try event.fullDocument?.first("text")?.string?.count == padding
      else {
        Issue.record("event \(count) is \(Event(event))")
        return count
      }
      count += 1
    }
    return count
  }

  @Test func aHugeTransactionTakesNoMoreThanTheBudget() throws {
    let folder = try Folder()
    let budget = 8 << 20
    var decoder = OplogDecoder(temporaryDirectory: folder.path)
    var writer = ByteWriter()
    var total = 0
    let (parts, perPart, padding) = (40, Int32(2500), 150)
    for part in 0..<parts {
      let after = part == 0 ? 0 : UInt32(100 + part - 1)
      let isLast = part == parts - 1
      Self.entry(
        &writer, at: UInt32(100 + part), after: after, first: Int32(part) * perPart,
        count: perPart, padding: padding, mark: isLast ? nil : "partialTxn")
      total += writer.count
      if isLast { break }
      #expect(try Self.take(writer.bytes, &decoder, padding: padding) == 0)
      #expect(decoder.transactionBytesHeld <= budget)
      #expect(decoder.transactionBytesHeld + decoder.transactionBytesSpilled >= total)
    }
    #expect(total > 16 << 20)
    #expect(decoder.transactionBytesSpilled > 16 << 20)
    #expect(decoder.transactionBytesHeld == 0)
    #expect(try folder.names.isEmpty)
    #expect(try folder.openFiles == 1)
    #expect(decoder.oldestOpenTransaction?.position == place(100))

    #expect(try Self.take(writer.bytes, &decoder, padding: padding) == 100_000)
    #expect(decoder.transactionStart?.position == place(100))
    #expect(decoder.transactionBytesSpilled == 0)
    #expect(try folder.openFiles == 0)
  }

  /// The largest known entry exceeds 16 MiB; two of them are one prepared transaction here.
  @Test func entriesMayBeLargerThanTheBudget() throws {
    let folder = try Folder()
    var decoder = OplogDecoder(transactionMemory: 1 << 20, temporaryDirectory: folder.path)
    var writer = ByteWriter()
    let padding = 16_777_300
    Self.entry(
      &writer, at: 10, after: 0, first: 0, count: 1, padding: padding, mark: "partialTxn")
    #expect(try Self.take(writer.bytes, &decoder, padding: padding) == 0)
    Self.entry(&writer, at: 11, after: 10, first: 1, count: 1, padding: padding, mark: "prepare")
    #expect(try Self.take(writer.bytes, &decoder, padding: padding) == 0)
    #expect(decoder.transactionBytesHeld == 0)
    #expect(decoder.transactionBytesSpilled > 32 << 20)
    let commit = Transaction().commit(12, after: 11)
      .replacingOccurrences(of: #"{"id":"s"}"#, with: #"{"id":1}"#)
    #expect(try Document(commit).use { try Self.take($0.bytes, &decoder, padding: padding) } == 2)
    #expect(decoder.transactionBytesSpilled == 0)
    #expect(try folder.openFiles == 0)
  }

  /// Small transactions stay in memory when a large one is moved to a file.
  @Test func theLargestGoesToAFile() throws {
    let folder = try Folder()
    var decoder = OplogDecoder(transactionMemory: 10_000, temporaryDirectory: folder.path)
    var writer = ByteWriter()
    func hold(_ session: Int32, at: UInt32, after: UInt32, first: Int32, _ padding: Int) throws {
      Self.entry(
        &writer, at: at, after: after, session: session, first: first, count: 1, padding: padding,
        mark: "partialTxn")
      #expect(try Self.take(writer.bytes, &decoder, padding: padding) == 0)
    }
    try hold(1, at: 10, after: 0, first: 0, 1000)
    try hold(2, at: 11, after: 0, first: 0, 6000)
    try hold(3, at: 12, after: 0, first: 0, 1000)
    #expect(decoder.transactionBytesSpilled == 0)
    try hold(1, at: 13, after: 10, first: 1, 3000)
    // The second one's 6000 bytes were moved to make room for the first one.
    #expect(decoder.transactionBytesSpilled > 6000 && decoder.transactionBytesSpilled < 6400)
    #expect(decoder.transactionBytesHeld > 5000 && decoder.transactionBytesHeld < 6400)
    // A transaction in a file needs no memory.
    let held = decoder.transactionBytesHeld
    try hold(2, at: 14, after: 11, first: 1, 6000)
    #expect(decoder.transactionBytesHeld == held)
    #expect(decoder.openTransactions == 3)
    #expect(try folder.openFiles == 1)
    Self.entry(
      &writer, at: 15, after: 14, session: 2, first: 2, count: 1, padding: 6000, mark: nil)
    #expect(try Self.take(writer.bytes, &decoder, padding: 6000) == 3)
    #expect(try folder.openFiles == 0)
    decoder.forgetTransactions()
    #expect(decoder.transactionBytesHeld == 0 && decoder.transactionBytesSpilled == 0)
  }

  /// With a budget of nothing every entry is written and read back.
  @Test func filesGiveBackWhatWasWritten() throws {
    let folder = try Folder()
    for budget in [0, 8 << 20] {
      var decoder = OplogDecoder(transactionMemory: budget, temporaryDirectory: folder.path)
      var writer = ByteWriter()
      var at: UInt32 = 10
      var id: Int32 = 0
      // Smaller and larger than a page, and than the window through which the file is read.
      for size in [0, 1, 4096, 100_000, 3_000_000, 5, 1_048_576, 17] {
        Self.entry(
          &writer, at: at, after: at == 10 ? 0 : at - 1, first: id, count: 1, padding: size,
          mark: "partialTxn")
        #expect(try Self.take(writer.bytes, &decoder, padding: size) == 0)
        (at, id) = (at + 1, id + 1)
      }
      Self.entry(&writer, at: at, after: at - 1, first: id, count: 1, padding: 7, mark: nil)
      var sizes: [Int?] = []
      _ = try decoder.begin(try BSONView(writer.bytes))
      while let event = try decoder.next() {
        sizes.append(try event.fullDocument?.first("text")?.string?.count)
      }
      #expect(sizes == [0, 1, 4096, 100_000, 3_000_000, 5, 1_048_576, 17, 7])
    }
    #expect(try folder.openFiles == 0)
  }

  @Test func aFileThatCannotBeHadHalts() throws {
    let nowhere = "/tmp/tailrace-oplog-tests-no-such-folder"
    var decoder = OplogDecoder(transactionMemory: 100, temporaryDirectory: nowhere)
    let one = Transaction()
    let error = #expect(throws: OplogError.self) { try decoder.events(one.part(10, 1, 2)) }
    #expect(error?.position == place(10))
    guard case .spillFailed(let directory, let detail) = error?.reason else {
      Issue.record("\(String(describing: error))")
      return
    }
    #expect(directory == nowhere)
    #expect(detail == "creating it: No such file or directory (2)")
    // Nothing is kept partially.
    #expect(decoder.openTransactions == 0 && decoder.transactionBytesHeld == 0)
    #expect(
      throws: OplogError(.missingEarlierEntries(previous: place(10)), at: place(11))
    ) { try decoder.events(one.last(11, after: 10, 3)) }
  }

  /// The other transactions are unchanged.
  @Test func aFailureTouchesOneTransactionOnly() throws {
    let nowhere = "/tmp/tailrace-oplog-tests-no-such-folder"
    let (one, two) = (Transaction(session: "one"), Transaction(session: "two"))
    var measure = OplogDecoder()
    #expect(try measure.events(one.part(10, 1, 2)).isEmpty)
    var decoder = OplogDecoder(
      transactionMemory: measure.transactionBytesHeld + 10, temporaryDirectory: nowhere)
    #expect(try decoder.events(one.part(10, 1, 2)).isEmpty)
    #expect(throws: OplogError.self) { try decoder.events(two.part(11, 3)) }
    #expect(decoder.openTransactions == 1)
    #expect(try decoder.events(one.last(12, after: 10, 3)).count == 3)
  }
}
