import JetStream
import NATS
import NIOCore
import Synchronization

/// Reads one of a group's streams as it grows, and asks now and then where its end is.
final class DualStreamReader: Sendable {
  private let jetStream: JetStreamClient
  private let work: DualWork
  private let index: Int
  private let stream: DualWork.Stream
  private let now: @Sendable () -> Int64
  private let scan: StreamScan
  private let tasks = Mutex<[Task<Void, Never>]>([])
  private let standsAt = Atomic<UInt64>(0)
  private let failure = Mutex<(any Error)?>(nil)

  /// How often a stream's end is asked for.
  private static let interval = Duration.milliseconds(100)

  init(
    _ jetStream: JetStreamClient, _ work: DualWork, _ index: Int, _ stream: DualWork.Stream,
    now: @escaping @Sendable () -> Int64
  ) {
    self.jetStream = jetStream
    self.work = work
    self.index = index
    self.stream = stream
    self.now = now
    scan = StreamScan(
      jetStream, stream: stream.name, from: stream.place.next, through: .max, isGated: true,
      follows: true,
      onBreak: { [work, index] in work.decisions.noteInterruption(of: index) },
      take: { [work, index] view, sequence in
        work.observe(view, sequence, in: index)
      })
  }

  func start() {
    let reading = Task { [self] in
      do {
        try await scan.run()
      } catch {
        fail(error)
      }
    }
    let asking = Task { [self] in
      do {
        while !Task.isCancelled {
          let eventLoop = jetStream.connection.eventLoop
          let asked = now()
          let known = try await eventLoop.submit { [work, index] in
            work.decisions.readings[index].gaps
          }.get()
          guard let info = try await jetStream.stream(stream.name),
            info.created == stream.place.created
          else { throw RangeFailure(description: "stream \(stream.name) was made again") }
          let next = try await eventLoop.submit { [work, index] in
            work.decisions.noteEnd(
              of: index, first: info.firstSequence, last: info.lastSequence,
              removal: info.removal, at: asked, known: known)
            return work.decisions.readings[index].next
          }.get()
          try await closeHole(next, info, asked)
          try await eventLoop.sleep(for: Self.interval)
        }
      } catch {
        fail(error)
      }
    }
    tasks.withLock { $0 = [reading, asking] }
  }

  /// Messages that are gone are never delivered. Asked only where reading stands still before the stream's end.
  private func closeHole(_ next: UInt64, _ info: StreamInfo, _ asked: Int64) async throws {
    let last = info.lastSequence
    guard next <= last, standsAt.exchange(next, ordering: .relaxed) == next else { return }
    let message = try await jetStream.nextMessage(in: stream.name, from: next)
    if let message, message.sequence <= last { return }
    let newest = info.lastAt.flatMap { ServerTime($0) }.map { (Int64($0.seconds) + 1) * 1000 }
    let stored = min(newest ?? asked, asked)
    try await jetStream.connection.eventLoop.submit { [work, index] in
      work.decisions.noteHole(in: index, from: next, through: last, storedAt: stored, at: asked)
    }.get()
  }

  private func fail(_ error: any Error) {
    guard !(error is CancellationError) else { return }
    failure.withLock { if $0 == nil { $0 = error } }
  }

  /// Throws what ended the reading.
  func check() throws {
    if let failure = failure.withLock({ $0 }) { throw failure }
  }

  func consumed(_ count: Int) { scan.consumed(count) }

  func stop() {
    scan.stopReading()
    for task in tasks.withLock({ $0 }) { task.cancel() }
  }
}
