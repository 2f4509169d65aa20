import BSON
import Bridge
import Foundation
import Operator
import Oplog

/// A file of change events or oplog entries, one a line in Extended JSON. It can be read more than once.
struct RecordedEvents {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  private let file: String
  private var first: OplogPosition?
  private var last: OplogPosition?
  /// Events that carry no document, by their type, of the last reading.
  private(set) var passedOver: [String: Int] = [:]

  init(_ file: String) { self.file = file }

  /// Between the first and the last event that has been read; nil where they have no times.
  var seconds: Double? {
    guard let first, let last else { return nil }
    return Double(Int(last.seconds) - Int(first.seconds))
  }

  /// Hands out all events, in the file's order.
  mutating func read(_ take: (ChangeEvent) -> Void) throws {
    guard file != "-" else {
      throw Failure(description: "--from-events needs a file: it is read more than once")
    }
    passedOver = [:]
    var lines = try LineFile(file)
    let decoder = OfflineDecoder(.events)
    while let line = try lines.next() {
      let text = String(decoding: line, as: UTF8.self)
      let place = "\(file):\(lines.number)"
      do {
        switch try Kind(text) {
        case .other(let type): passedOver[type, default: 0] += 1
        case .event:
          try Self.check(text)
          try hand(text, take)
        case .untimed:
          try Self.check(text)
          // Their order is the file's.
          let rest = text.drop { $0 != "{" }.dropFirst()
          let isAlone = rest.first { !$0.isWhitespace } == "}"
          let time = "{\"clusterTime\":{\"$timestamp\":{\"t\":1,\"i\":\(lines.number)}}"
          try hand(time + (isAlone ? "" : ",") + rest, take, isTimed: false)
        case .entry:
          var texts: [String] = []
          try decoder.decode(text) { texts.append($0) }
          for text in texts { try hand(text, take) }
        }
      } catch let failure as OfflineDecoder.Failure {
        throw Failure(description: "\(place): \(failure.reason)")
      } catch {
        let hint = LineFile.hint(text, file).map { ". \($0)" } ?? ""
        throw Failure(description: "\(place): \(error)\(hint)")
      }
    }
  }

  private static func check(_ text: String) throws(Failure) {
    if let fault = RecordedShape.fault(of: text) { throw Failure(description: fault) }
  }

  private mutating func hand(
    _ text: String, _ take: (ChangeEvent) -> Void, isTimed: Bool = true
  ) throws {
    let event = try RecordedEvent(text, index: 0)
    guard Self.carriesDocument(event.operation) else {
      passedOver["\(event.operation.name)", default: 0] += 1
      return
    }
    if isTimed {
      let at = event.position.entry
      first = min(first ?? at, at)
      last = max(last ?? at, at)
    }
    try event.withEvent(take)
  }

  private static func carriesDocument(_ operation: OperationType) -> Bool {
    [.insert, .update, .replace, .delete].contains(operation)
  }

  private enum Kind {
    case event, untimed, entry
    /// A change event of what is no document, by its type.
    case other(String)

    /// Those of change streams that `OperationType` doesn't have: the bridge passes over them.
    private static let others: Set<String> = [
      "invalidate", "shardCollection", "reshardCollection", "refineCollectionShardKey",
      "startIndexBuild", "abortIndexBuild", "endOfTransaction",
    ]

    init(_ text: String) throws {
      let bytes = try ExtendedJSON.bson(text, as: .printed)
      var found: Kind?
      try bytes.withUnsafeBytes { bytes in
        let view = try BSONView(bytes)
        if let type = try view.first("operationType") {
          guard let name = type.string else {
            throw Failure(description: RecordedShape.typeFault(of: text))
          }
          found = try Self.event(
            String(decoding: name, as: UTF8.self),
            isTimed: view.first("clusterTime")?.timestamp != nil)
        } else if try view.first("op") != nil, try view.first("ns") != nil {
          found = .entry
        }
      }
      guard let found else {
        throw Failure(
          description:
            "neither a change event (operationType, ns, …) nor an oplog entry (op, ns, …)")
      }
      self = found
    }

    private static func event(_ name: String, isTimed: Bool) throws(Failure) -> Kind {
      guard let operation = OperationType.allCases.first(where: { "\($0.name)" == name }) else {
        if others.contains(name) { return .other(name) }
        throw Failure(
          description: "operationType is \"\(name)\", which no change stream is known to have")
      }
      guard RecordedEvents.carriesDocument(operation) else { return .other(name) }
      return isTimed ? .event : .untimed
    }
  }
}
