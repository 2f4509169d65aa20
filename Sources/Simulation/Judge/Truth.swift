import BSON
import Bridge
import BridgeConfiguration
import Bytes
import Mapping
import Oplog
import SimulatedJetStream
import SimulatedMongo
import Verification

/// What streams should hold: the messages of everything that was committed, by stream, in order. Grows with the
/// committed oplog, and shares with the bridge how a message is made, nothing of how it is published.
final class Truth {
  struct Message {
    var position: EventPosition
    /// Of subject, the event's headers and body.
    var fingerprint: UInt64
    /// None of the entry's events becomes a dead letter, which waits for the messages before it.
    var isWhole = true
  }

  let names: [String]
  /// The stream of dead letters.
  let letters: Int
  private(set) var messages: [[Message]]
  /// When the entry of each was committed, in the world's time.
  private(set) var committedAt: [[Int64]]
  /// Of the streams of buckets: by subject, the last message.
  private(set) var lastEntries: [Int: [String: Message]] = [:]
  /// Of the newest committed entry.
  private(set) var newest: OplogPosition?

  /// Called with each message, and when its entry was committed.
  var onDerived: (DerivedMessage, _ at: Int64) -> Void = { _, _ in }
  private let set: SimulatedReplicaSet
  private let expected: ExpectedMessages
  private var decoder = OplogDecoder()
  private var taken = 0
  private var scratch = ByteWriter(capacity: 512)

  init(_ set: SimulatedReplicaSet, _ configuration: BridgeConfiguration) {
    self.set = set
    let names = Self.names(configuration)
    self.names = names
    letters = names.firstIndex(of: configuration.deadLetter.stream) ?? 0
    messages = names.map { _ in [] }
    committedAt = messages.map { _ in [] }
    for (index, name) in names.enumerated() where configuration.isBucket(name) {
      lastEntries[index] = [:]
    }
    expected = Self.deriver(configuration)
  }

  /// Of all streams, in the order of their indices.
  static func names(_ configuration: BridgeConfiguration) -> [String] {
    let names = configuration.streams.map(\.name)
    let letters = configuration.deadLetter.stream
    return names.contains(letters) ? names : names + [letters]
  }

  static func deriver(_ configuration: BridgeConfiguration) -> ExpectedMessages {
    let limits = names(configuration).map { _ in MessageLimits(maximumPayload: 1 << 20) }
    return ExpectedMessages(configuration, sourceName: Scenario.source, limits: limits)
  }

  /// Takes in what was committed meanwhile.
  func update(at now: Int64) throws {
    while taken < set.committed.count {
      let entry = set.committed[taken]
      taken += 1
      newest = entry.position
      let before = messages.map(\.count)
      try set.withBytes(of: entry.number) { bytes in
        _ = try decoder.begin(BSONView(bytes))
        while let event = try decoder.next() {
          events &+= 1
          expected.derive(event) { add($0, at: now) }
        }
      }
      let grown = messages.indices.filter { messages[$0].count > before[$0] }
      guard grown.contains(letters), grown.count > 1 else { continue }
      for stream in grown {
        for index in before[stream]..<messages[stream].count {
          messages[stream][index].isWhole = false
        }
      }
    }
  }

  /// The first entry of the oldest transaction that is open behind the newest committed entry.
  var oldestOpenTransaction: OplogPosition? { decoder.oldestOpenTransaction?.position }

  /// How many changes were committed.
  private(set) var events: UInt64 = 0

  /// The number of the expected message of that event in a stream.
  func place(of position: EventPosition, in stream: Int) -> Int? {
    let all = messages[stream]
    var (low, high) = (0, all.count)
    while low < high {
      let middle = (low + high) / 2
      if all[middle].position < position { low = middle + 1 } else { high = middle }
    }
    return low < all.count && all[low].position == position ? low : nil
  }

  /// A stored message as one of the bridge's; nil: it is somebody else's.
  func own(
    _ message: StoredMessage, isExclusive: Bool, bridge: String
  ) -> (position: EventPosition, fingerprint: UInt64)? {
    message.headers.withUnsafeBytes { headers in
      let marks = MessageMarks(headers)
      guard marks.isOfBridge, let position = marks.position else { return nil }
      if !isExclusive {
        guard let name = marks.bridge, name.elementsEqual(bridge.utf8) else { return nil }
      }
      var subject = message.subject
      return subject.withUTF8 { subject in
        message.payload.withUnsafeBytes { body in
          (position, fingerprint(UnsafeRawBufferPointer(subject), headers: headers, body))
        }
      }
    }
  }

  private func add(_ message: DerivedMessage, at now: Int64) {
    onDerived(message, now)
    let fingerprint = fingerprint(message.subject, headers: message.headers, message.body)
    let made = Message(position: message.position, fingerprint: fingerprint)
    messages[message.stream].append(made)
    lastEntries[message.stream]?[String(decoding: message.subject, as: UTF8.self)] = made
    committedAt[message.stream].append(now)
  }

  /// Of a message as it is made, or as it is stored: what its publishing added is left out.
  func fingerprint(
    _ subject: UnsafeRawBufferPointer, headers: UnsafeRawBufferPointer,
    _ body: UnsafeRawBufferPointer
  ) -> UInt64 {
    scratch.removeAll()
    _ = MessageMarks(headers, appendingEventLinesTo: &scratch)
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for part in [subject, scratch.bytes, body] {
      for byte in part { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
      hash = (hash ^ 0xFF) &* 0x100_0000_01B3
    }
    return hash
  }
}
