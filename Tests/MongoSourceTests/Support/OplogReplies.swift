import BSON
import Logging
import MongoSource
import Oplog

/// Replies to find and getMore.
enum Reply {
  static func point(_ seconds: UInt32, _ increment: UInt32) -> ResumePoint {
    ResumePoint(position: OplogPosition(seconds: seconds, increment: increment), term: 7)
  }

  static let lost = PositionLost(
    reason: .rolledBack, expected: point(5, 1), found: point(5, 2), oldest: point(1, 1),
    newest: point(9, 1), host: "a:1")

  static func raw(_ bytes: [UInt8]) -> MongoReply {
    bytes.withUnsafeBytes { MongoReply(copying: $0) }
  }

  static func make(
    _ entries: [(UInt32, UInt32)], term: Int64 = 7, cursor: Int64 = 42, padding: Int = 0
  ) -> MongoReply {
    build(cursor: cursor) { writer in
      for (i, (seconds, increment)) in entries.enumerated() {
        let entry = writer.beginDocument(index: i)
        writer.append(key: "op", string: "i")
        writer.append(key: "ts", timestamp: seconds, increment: increment)
        writer.append(key: "t", int64: term)
        if padding > 0 {
          [UInt8](repeating: 120, count: padding).withUnsafeBytes {
            writer.append(key: "x", string: $0)
          }
        }
        writer.endDocument(entry)
      }
    }
  }

  static let large = make([(6, 1)], padding: 8 << 20)
  static let notOplog = build(cursor: 42) { writer in
    let entry = writer.beginDocument(index: 0)
    writer.endDocument(entry)
  }

  private static func build(cursor: Int64, _ body: (inout ByteWriter) -> Void) -> MongoReply {
    var writer = ByteWriter()
    let reply = writer.beginDocument()
    let inner = writer.beginDocument(key: "cursor")
    let array = writer.beginArray(key: "nextBatch")
    body(&writer)
    writer.endDocument(array)
    writer.append(key: "id", int64: cursor)
    writer.endDocument(inner)
    writer.append(key: "operationTime", timestamp: 900, increment: 1)
    writer.endDocument(reply)
    return MongoReply(copying: writer.bytes)
  }
}

/// Steps in words.
enum Shown {
  static func step(_ step: OplogTailMachine.Step) -> String {
    (step.notes.map(note) + [request(step.request)]).joined(separator: "; ")
  }

  static func note(_ note: OplogTailMachine.Note) -> String {
    switch note {
    case .disconnect: "disconnect"
    case .host(let host): "host \(host)"
    case .replied(.waiting(let position), _): "waiting for \(position)"
    case .replied(let phase, _): "\(phase)"
    case .reopening(_, let attempt): "reopening \(attempt)"
    case .recovered: "recovered"
    case .log(let line):
      "\(line.level): \(line)" + (line.metadata.map { " [attempt \($0["attempt"] ?? "")]" } ?? "")
    }
  }

  static func request(_ request: OplogTailMachine.Request) -> String {
    switch request {
    case .connect(let preferred): "connect" + (preferred.map { " \($0)" } ?? "")
    case .startSession: "session"
    case .find(let position, let majority, let size):
      "find \(position) \(majority ? "majority" : "local") \(size)"
    case .getMore(let cursor, let size): "getMore \(cursor) \(size)"
    case .search(let point, let found, let majority):
      "search \(point), found \(found.map { "\($0)" } ?? "nothing"), "
        + (majority ? "majority" : "local")
    case .deliver(let batch, let more):
      "deliver \(batch.count) to \(batch.last.position), \(more ? "more" : "last")"
    case .killCursor(let cursor): "kill \(cursor)"
    case .pause(let pause): "pause \(ceiling(of: pause))"
    case .fail(let failure): "fail \(failure)"
    case .finish: "finish"
    }
  }

  /// A pause is between half of its ceiling and that; in milliseconds.
  private static func ceiling(of pause: Duration) -> Int {
    var ceiling = 20
    while ceiling < 1000 && .milliseconds(ceiling) < pause { ceiling *= 2 }
    return min(ceiling, 1000)
  }
}
