import Bridge
import NIOCore
import Oplog

/// Where the changes of a range come from: MongoDB, or a recording.
protocol ChangeSource: Sendable {
  /// Hands out every change within the range, in order, on `eventLoop`. While `mayContinue` is false it
  /// waits.
  func walk(
    _ range: ClosedRange<EventPosition>, on eventLoop: any EventLoop,
    mayContinue: @escaping @Sendable () -> Bool,
    _ body: @escaping @Sendable (ChangeEvent) -> Void
  ) async throws
}

extension LiveChanges: ChangeSource {}
