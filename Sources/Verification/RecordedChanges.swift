import BSON
import Bridge
import NIOCore
import Oplog

/// Oplog entries in memory, decoded again in each walk.
final class RecordedChanges: ChangeSource {
  private let entries: [[UInt8]]

  /// - Parameter entries: BSON, in oplog order.
  init(_ entries: [[UInt8]]) { self.entries = entries }

  func walk(
    _ range: ClosedRange<EventPosition>, on eventLoop: any EventLoop,
    mayContinue: @escaping @Sendable () -> Bool, _ body: @escaping @Sendable (ChangeEvent) -> Void
  ) async throws {
    try await eventLoop.submit { [entries] in
      var decoder = OplogDecoder()
      for entry in entries {
        try entry.withUnsafeBytes { bytes in
          _ = try decoder.begin(try BSONView(bytes))
          while let event = try decoder.next() {
            if range.contains(event.position) { body(event) }
          }
        }
      }
    }.get()
  }
}
