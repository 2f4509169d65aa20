import JSON
import JetStream
import NATS
import NIOCore
import Oplog

/// What a follower publishes itself, and what comes of it. On the connection's event loop only.
extension DualWork: NATSRawHandler {
  /// A replicated stream refuses an assertion of a subject while one like it is under way (10164).
  private var mostInFlight: Int {
    streams.contains { $0.fence != nil && $0.isReplicated } ? 1 : 1024
  }
  private static let ackLimit = Duration.seconds(5)

  func fill(_ now: Int64) {
    let limitOfAcks = ContinuousClock.now - Self.ackLimit
    for (number, since) in inFlight where since < limitOfAcks {
      inFlight[number] = nil
      // It may have been stored, and only the ack be lost.
      decisions.ask(again: number, afterReadingThrough: now)
    }
    let room = mostInFlight - inFlight.count
    guard room > 0, setup.tenure.mayPublish else { return }
    for (number, event) in decisions.due(at: now, most: room) { publish(number, event) }
    connection.flushWrites()
  }

  /// Stored at most once, by its id: whoever else publishes it meanwhile, the server tells which was first.
  func publish(_ number: UInt64, _ event: DualTable.Event) {
    var headers = NATSHeaders(HeaderLines.fields(String(decoding: event.headers, as: UTF8.self)))
    headers.append("\(HeaderName.filled)", "1")
    headers.append("Nats-Expected-Stream", streams[event.stream].name)
    if let fence = streams[event.stream].fence {
      headers.append("Nats-Expected-Last-Subject-Sequence", String(fence.sequence))
      headers.append("Nats-Expected-Last-Subject-Sequence-Subject", fence.subject)
    }
    do throws(NATSError) {
      try connection.enqueue(
        event.subject, reply: "\(inbox).\(number)", headers: headers, payload: event.body)
      inFlight[number] = .now
    } catch {
      refusal = "\(error)"
      decisions.ask(again: number)
    }
  }

  func received(_ message: borrowing NATSMessageView) {
    let token = message.subject.dropFirst(inbox.utf8.count + 1)
    guard let number = UInt64(String(decoding: token, as: UTF8.self)),
      inFlight.removeValue(forKey: number) != nil
    else { return }
    guard message.status == nil else {
      refusal = "no stream takes the message"
      return askLater(number)
    }
    switch AckFrame(payload: message.payload) {
    case .stored(let sequence, false, _):
      refusal = nil
      decisions.decide(number, .filled, sequence)
    case .stored(let sequence, true, _):
      refusal = nil
      guard let event = decisions.table.undecidedEvent(number) else { return }
      toCompare.append((number, event.stream, sequence))
    case .refused(JetStreamCode.wrongLastSequence, _):
      // By the pipeline's next epoch, by a later leader, or it was removed.
      hasMovedFence = true
      decisions.ask(again: number)
    case .refused:
      refusal =
        (try? JSONValue(parsing: message.payload))?["error"]?["description"]?.stringValue
        ?? "refused"
      askLater(number)
    case .flow, .gap, .receipt, .unknown:
      refusal = "the stream's answer can't be read"
      askLater(number)
    }
  }

  private func askLater(_ number: UInt64) {
    connection.eventLoop.scheduleTask(in: .seconds(1)) {
      self.decisions.ask(again: number)
    }
  }
}
