import Dispatch
import NIOCore

/// For code that takes a loop of its own: its process's only one, which outlives the group.
///
/// Sendable invariant: the simulator has one thread.
final class SimulatedLoopGroup: EventLoopGroup, @unchecked Sendable {
  private let eventLoop: SimulatedEventLoop

  init(_ eventLoop: SimulatedEventLoop) { self.eventLoop = eventLoop }

  func next() -> any EventLoop { eventLoop }
  func any() -> any EventLoop { eventLoop }
  func makeIterator() -> EventLoopIterator { EventLoopIterator([eventLoop]) }

  func shutdownGracefully(
    queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void
  ) {
    callback(nil)
  }
}
