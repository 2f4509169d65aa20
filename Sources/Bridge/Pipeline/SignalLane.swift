import BSON
import Mapping
import NATS
import NIOCore
import Oplog

#if canImport(Darwin)
  import Darwin
#else
  import Glibc
#endif

/// Signals: messages of rules with `delivery: core`, published to whoever listens. There is no ack, so none is
/// waited for, and none holds the checkpoint; what a lost connection takes away is gone.
///
/// A server that hangs would deliver late what lies in the socket. So only a bounded number of signals is on its
/// way until the server has answered a PING behind them; meanwhile signals wait here, and become too old.
///
/// Owned by the pipeline's event loop. Its methods don't call out, so accesses to its output can't overlap: it goes
/// without the dynamic exclusivity check.
final class SignalLane {
  /// On their way and not known to have arrived, at most.
  private static let window = 4096

  @exclusivity(unchecked) var output = ByteWriter(capacity: 64 << 10)
  private var outputCount = 0
  /// Of the last PING, and of all signals written to the socket.
  private var confirmed: UInt64 = 0
  private var written: UInt64 = 0
  private var isConfirming = false
  /// In `output`, by rule.
  private var unwritten: [UInt64]
  private(set) var limits: MessageLimits
  /// By rule, milliseconds.
  private let maximumAge: [Int64]
  /// Changes up to here may have been signalled by an earlier leader.
  let floor: EventFloor

  private struct Open {
    var start = 0
    var sizes = 0
    var headers = 0
    var headersEnd = 0
  }
  private var open = Open()

  private static let sizeDigits = 8

  init(rules: [Rule], maximumPayload: Int, floor: EventFloor) {
    unwritten = Array(repeating: 0, count: rules.count)
    maximumAge = rules.map(\.maximumAge)
    limits = MessageLimits(
      maximumPayload: maximumPayload, maximumMessage: nil, maximumBytes: nil)
    self.floor = floor
  }

  /// False: the server has not answered for what is on its way.
  var canSend: Bool { written &- confirmed &+ UInt64(outputCount) < Self.window }

  /// Whether a change is too old to be signalled.
  ///
  /// - Parameter wallTime: of the change, milliseconds since 1970 by MongoDB's clock.
  func isLate(_ wallTime: Int64, rule: Int) -> Bool {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000 - wallTime > maximumAge[rule]
  }

  // MARK: Writing

  func beginMessage() {
    open.start = output.count
    output.append("HPUB ")
  }

  func beginHeaders() {
    output.append(" ")
    open.sizes = output.appendPlaceholder(Self.sizeDigits)
    output.append(" ")
    _ = output.appendPlaceholder(Self.sizeDigits)
    output.append("\r\n")
    open.headers = output.count
    output.append("NATS/1.0\r\n")
  }

  func beginBody() {
    open.headersEnd = output.count
    output.append("\r\n")
  }

  /// Header block and body so far.
  var size: Int { output.count - open.headers }

  var body: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: output.bytes[(open.headersEnd + 2)...])
  }

  func endMessage(rule: Int) {
    output.patch(
      decimal: open.headersEnd + 2 - open.headers, at: open.sizes, width: Self.sizeDigits)
    output.patch(
      decimal: output.count - open.headers, at: open.sizes + Self.sizeDigits + 1,
      width: Self.sizeDigits)
    output.append("\r\n")
    outputCount += 1
    unwritten[rule] &+= 1
  }

  func cancelMessage() { output.truncate(to: open.start) }

  // MARK: Sending

  /// Hands what is there to the socket.
  ///
  /// - Returns: how many signals, by rule.
  func write(to connection: NATSConnection) -> [UInt64] {
    var buffer = ByteBufferAllocator().buffer(capacity: output.count)
    buffer.writeBytes(output.bytes)
    output.removeAll()
    connection.writeRaw(buffer)
    written &+= UInt64(outputCount)
    outputCount = 0
    defer { unwritten = Array(repeating: 0, count: unwritten.count) }
    return unwritten
  }

  /// Signals that were never handed to the socket, by rule.
  func abandon() -> [UInt64] {
    output.removeAll()
    outputCount = 0
    defer { unwritten = Array(repeating: 0, count: unwritten.count) }
    return unwritten
  }

  /// Asks the server whether it has taken what was written, unless it is being asked.
  func confirm(on connection: NATSConnection, _ onAnswer: @escaping @Sendable () -> Void) {
    guard !isConfirming, written > confirmed else { return }
    isConfirming = true
    let upTo = written
    let lane = NIOLoopBound(self, eventLoop: connection.eventLoop)
    Task {
      // Without an answer the connection ends, and this lane with it.
      guard (try? await connection.flush(timeout: .seconds(60))) != nil else { return }
      connection.eventLoop.execute {
        lane.value.isConfirming = false
        lane.value.confirmed = upTo
        onAnswer()
      }
    }
  }
}

/// Changes that an earlier leader may have signalled: those up to the newest one when this tenure began.
struct EventFloor: Sendable, Equatable {
  /// Nil: there was no earlier leader's time.
  var position: OplogPosition?

  func covers(_ position: EventPosition) -> Bool {
    self.position.map { position.entry <= $0 } ?? false
  }
}
