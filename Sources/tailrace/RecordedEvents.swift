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
    var lines = try LineFile(file)
    let decoder = OfflineDecoder(.events)
    while let line = try lines.next() {
      let text = String(decoding: line, as: UTF8.self)
      let place = "\(file):\(lines.number)"
      do {
        switch try Kind(text) {
        case .event: try hand(text, take)
        case .untimed:
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
        throw Failure(description: "\(place): \(error)")
      }
    }
  }

  private mutating func hand(
    _ text: String, _ take: (ChangeEvent) -> Void, isTimed: Bool = true
  ) throws {
    let event = try RecordedEvent(text, index: 0)
    if isTimed {
      let at = event.position.entry
      first = min(first ?? at, at)
      last = max(last ?? at, at)
    }
    try event.withEvent(take)
  }

  private enum Kind {
    case event, untimed, entry

    init(_ text: String) throws {
      let bytes = try ExtendedJSON.bson(text, as: .printed)
      var found: Kind?
      try bytes.withUnsafeBytes { bytes in
        let view = try BSONView(bytes)
        if try view.first("operationType") != nil {
          found = try view.first("clusterTime")?.timestamp == nil ? .untimed : .event
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
  }
}
