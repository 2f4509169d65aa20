import JetStream
import NATS

extension EpochEnd {
  /// Of an `-ERR` that leaves the connection alive: what it means for the epoch that publishes there.
  /// Nil: nothing, or whoever sent the request has heard of it.
  init?(_ error: NATSError, streams: [PreparedStream], inbox: String) {
    guard let refused = error.refused else {
      // The account's max_subscriptions: ours was the last.
      guard error.message.lowercased().contains("maximum subscriptions exceeded") else {
        return nil
      }
      self = .acksRefused("acks can't arrive: \(error)")
      return
    }
    guard refused.isPublish else {
      guard refused.subject.hasPrefix(inbox) else { return nil }
      self = .acksRefused("acks can't arrive: \(error)")
      return
    }
    let stream = streams.first { stream in
      stream.info.subjects.contains { NATSSubject.matches(refused.subject, filter: $0) }
    }
    guard let stream else { return nil }
    self = .publishFailed(
      lane: stream.name,
      JetStreamError(
        code: 0, operation: "publish to \(stream.name)", message: "\(error)",
        remedy: .operatorMustAct))
  }
}
