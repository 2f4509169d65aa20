import BSON
package import Bridge
package import BridgeConfiguration
import Foundation
import JSON
package import JetStream
package import Oplog

/// Which dead letters an operator has taken out for good, as kept in the state bucket: the streams themselves
/// do not tell a letter that was dropped from a message that was lost.
///
/// Each key holds a few kilobytes, so that a bucket of any size of messages takes it.
package struct DroppedLetters: Sendable {
  package struct Letter: Sendable, Equatable {
    package var event: EventOfRule
    /// `database.collection`, or the database.
    var namespace: String
    /// The document's key, BSON; empty where there is none, or where it is too long to keep.
    var documentKey: [UInt8]
  }

  private let bucket: KeyValueBucket
  private let bridge: String
  /// The dead-letter stream.
  private let stream: String

  /// A bucket's messages may have more (`BucketFitness`).
  private static let mostBytes = 7000
  fileprivate static let longestKey = 1024

  /// - Parameter bridge: whose letters; nil: those of the configuration's.
  package init(
    _ jetStream: JetStreamClient, _ configuration: BridgeConfiguration, bridge: String? = nil
  ) {
    bucket = KeyValueBucket(jetStream, name: configuration.bridge.stateBucket)
    self.bridge = bridge ?? configuration.bridge.name
    stream = configuration.deadLetter.stream
  }

  /// All that was dropped so far.
  package func load() async throws -> [Letter] {
    var letters: [Letter] = []
    var number = 0
    while let some = try await page(number).letters {
      letters += some
      number += 1
    }
    return letters
  }

  /// Keeps them. Call it before they are taken out: what is gone can't be written down any more.
  package func add(_ more: [DeadLetter]) async throws {
    let isThere = try await bucket.exists
    if !isThere {
      let replicas = try await bucket.jetStream.stream(stream)?.replicas
      try await bucket.ensure(replicas: replicas ?? 1)
    }
    // What names no event is nobody's to miss.
    var rest = more.compactMap { Letter($0) }
    while !rest.isEmpty {
      rest.removeFirst(try await put(rest))
    }
  }

  /// - Returns: how many of the first are on the last page now; 0 where somebody else has written there
  ///   meanwhile.
  private func put(_ letters: [Letter]) async throws -> Int {
    var pages = 0
    var last: (letters: [Letter], revision: UInt64) = ([], 0)
    var next = try await page(0)
    while let some = next.letters {
      last = (some, next.revision)
      pages += 1
      next = try await page(pages)
    }
    var number = max(pages - 1, 0)
    var count = Self.fitting(letters, behind: last.letters)
    if pages == 0 || count == 0 {
      number = pages
      last = ([], next.revision)
      count = max(1, Self.fitting(letters, behind: []))
    }
    let text = Self.text(last.letters + letters.prefix(count))
    return try await replace(number, text, last.revision) ? count : 0
  }

  private func replace(
    _ number: Int, _ text: [UInt8], _ revision: UInt64
  ) async throws(JetStreamError) -> Bool {
    do {
      _ = try await bucket.put(key(number), text, expecting: revision)
      return true
    } catch {
      if error.code == JetStreamCode.wrongLastSequence { return false }
      throw error
    }
  }

  private func key(_ number: Int) -> String { "\(bridge).dropped.\(number)" }

  /// A page, or nil where there is none, and the revision to assert when it is written. By one request: that of a page
  /// which somebody has written meanwhile would replace his letters unseen.
  private func page(_ number: Int) async throws -> (letters: [Letter]?, revision: UInt64) {
    let (entry, revision) = try await bucket.read(key(number))
    guard let entry else { return (nil, revision) }
    let json = try JSONValue(parsing: entry.value)
    return ((json["letters"]?.arrayValue ?? []).compactMap(Letter.init), revision)
  }

  private static func text(_ letters: [Letter]) -> [UInt8] {
    let json: JSONValue = ["letters": .array(letters.map(\.json))]
    return json.utf8
  }

  /// How many of the first fit on one page behind those.
  private static func fitting(_ more: [Letter], behind letters: [Letter]) -> Int {
    var bytes = text(letters).count
    var count = 0
    for letter in more {
      bytes += letter.json.utf8.count + 1
      guard bytes <= mostBytes else { break }
      count += 1
    }
    return count
  }
}

extension DroppedLetters.Letter {
  /// Nil where the letter doesn't say what it is of.
  package init?(_ letter: DeadLetter) {
    guard let position = letter.position, !letter.rule.isEmpty else { return nil }
    event = EventOfRule(position: position, rule: letter.rule)
    namespace = ""
    documentKey = []
    guard let recorded = try? RecordedEvent(letter.body, index: position.index) else {
      return
    }
    try? recorded.withEvent { event in
      namespace = String(decoding: event.namespace, as: UTF8.self)
      if let key = event.documentKey, key.bytes.count <= DroppedLetters.longestKey {
        documentKey = Array(key.bytes)
      }
    }
  }

  fileprivate init?(_ json: JSONValue) {
    guard let parts = json.arrayValue?.compactMap(\.stringValue), parts.count == 4,
      let position = EventPosition(parts[0]), let key = Base64.decode(parts[3])
    else { return nil }
    event = EventOfRule(position: position, rule: parts[1])
    namespace = parts[2]
    documentKey = key
  }

  fileprivate var json: JSONValue {
    .array([
      .string(event.position.description), .string(event.rule), .string(namespace),
      .string(Data(documentKey).base64EncodedString()),
    ])
  }

  /// Lends an event of the document.
  package func withEvent<R>(_ body: (ChangeEvent) throws -> R) throws -> R? {
    guard !documentKey.isEmpty else { return nil }
    let name = Array(namespace.utf8)
    return try name.withUnsafeBytes { namespace in
      try documentKey.withUnsafeBytes { key in
        var event = ChangeEvent(
          operation: .delete, position: self.event.position, namespace: namespace,
          databaseLength: name.prefix { $0 != UInt8(ascii: ".") }.count)
        event.documentKey = try BSONView(key)
        return try body(event)
      }
    }
  }
}
