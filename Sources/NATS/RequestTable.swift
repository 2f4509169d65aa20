internal import NIOCore
import Synchronization

/// Pending requests. All share one inbox subscription; the last token of the reply subject identifies the
/// request.
final class RequestTable: NATSRawHandler, Sendable {
  typealias Answer = Result<NATSMessage, NATSError>

  private struct Waiting {
    var subject: String
    var continuation: CheckedContinuation<Answer, Never>
    var timeout: Scheduled<Void>
  }

  private struct State {
    var next: UInt64 = 1
    var waiting: [UInt64: Waiting] = [:]
    var ended: NATSError?
    var subscribed = false
  }

  private let state = Mutex(State())
  /// `<inbox>.`; the subscription is to `<inbox>.*`.
  let prefix: String
  private let prefixLength: Int

  init(inbox: String) {
    prefix = inbox + "."
    prefixLength = prefix.utf8.count
  }

  /// Whether this is the first request, which must subscribe to the inbox.
  func firstUse() -> Bool {
    state.withLock { state in
      defer { state.subscribed = true }
      return !state.subscribed
    }
  }

  /// The id of a new request.
  func reserve() -> UInt64 {
    state.withLock { state in
      defer { state.next += 1 }
      return state.next
    }
  }

  func replySubject(_ id: UInt64) -> String { "\(prefix)\(id)" }

  /// Registers a request; its continuation is resumed exactly once.
  func wait(
    _ id: UInt64, subject: String, timeout: Scheduled<Void>,
    _ continuation: CheckedContinuation<Answer, Never>
  ) {
    let ended = state.withLock { state in
      if state.ended == nil {
        state.waiting[id] = Waiting(
          subject: subject, continuation: continuation, timeout: timeout)
      }
      return state.ended
    }
    if let ended {
      timeout.cancel()
      continuation.resume(returning: .failure(ended))
    }
  }

  /// Completes a request if it is still pending.
  func complete(_ id: UInt64, _ answer: Answer) {
    guard let waiting = state.withLock({ $0.waiting.removeValue(forKey: id) }) else { return }
    waiting.timeout.cancel()
    waiting.continuation.resume(returning: answer)
  }

  /// The server refused a publish to `subject`: fails its requests.
  func refused(subject: Substring, _ error: NATSError) {
    let ids = state.withLock { state in
      state.waiting.compactMap { $0.value.subject == subject ? $0.key : nil }
    }
    for id in ids { complete(id, .failure(error)) }
  }

  /// The connection has ended, or the server refuses the inbox.
  func end(_ error: NATSError) {
    let waiting = state.withLock { state in
      state.ended = error
      defer { state.waiting.removeAll() }
      return Array(state.waiting.values)
    }
    for request in waiting {
      request.timeout.cancel()
      request.continuation.resume(returning: .failure(error))
    }
  }

  func received(_ message: borrowing NATSMessageView) {
    guard let id = number(message.subject) else { return }
    if message.status == 503, message.payload.isEmpty {
      let subject = state.withLock { $0.waiting[id]?.subject } ?? ""
      complete(
        id,
        .failure(NATSError(.noResponders, "no responders: '\(subject)' has no subscribers")))
    } else {
      complete(id, .success(NATSMessage(message)))
    }
  }

  private func number(_ subject: UnsafeRawBufferPointer) -> UInt64? {
    guard subject.count > prefixLength, subject.count < prefixLength + 19 else { return nil }
    var value: UInt64 = 0
    for c in subject[prefixLength...] {
      let digit = c &- 48
      guard digit <= 9 else { return nil }
      value = value &* 10 &+ UInt64(digit)
    }
    return value
  }
}

/// Unique inbox subjects.
package enum NATSInbox {
  /// The prefix, a dot, and 22 random letters and digits: 131 bits.
  package static func make(prefix: String) -> String {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789".utf8)
    var random = SystemRandomNumberGenerator()
    let token = (0..<22).map { _ in alphabet[Int(random.next(upperBound: UInt(alphabet.count)))] }
    return prefix + "." + String(decoding: token, as: UTF8.self)
  }
}
