import JetStream
import Logging
import NATS
import NIOCore

/// Originals of duplicates are read directly, or from their stream's leader if that doesn't work: a permission
/// is missing, or no server answers.
extension Pipeline {
  /// The time for an answer to a direct read. Well below the ack timeout.
  static let directLimit = TimeAmount.seconds(1)
  /// After this it is tried again: permissions and servers change.
  private static let leaderOnly = TimeAmount.minutes(10)
  private static let directSubject = "$JS.API.DIRECT.GET."

  func readsFromLeader(_ stream: String) -> Bool {
    leaderReads[stream].map { NIODeadline.now() < $0 } ?? false
  }

  /// The server does not let this user read directly. Each request that was under way is refused by itself.
  ///
  /// - Returns: false if something else was refused.
  func refusedDirectRead(_ error: NATSError, on connection: NATSConnection) -> Bool {
    guard let refused = error.refused, refused.isPublish,
      refused.subject.hasPrefix(Self.directSubject)
    else { return false }
    eventLoop.execute {
      guard self.epoch?.connection === connection else { return }
      let stream = refused.subject.dropFirst(Self.directSubject.count)
      for lane in self.lanes where lane.name == stream && !self.readsFromLeader(lane.name) {
        self.readFromLeader(lane, error.message)
      }
    }
    return true
  }

  func readFromLeader(_ lane: Lane, _ why: String) {
    leaderReads[lane.name] = .now() + Self.leaderOnly
    lane.publisher.readFromLeader()
    lane.waitingSince = .now()
    logger.notice(
      "messages are read from the stream's leader: direct reads do not work",
      metadata: ["stream": "\(lane.name)", "reason": "\(why)"])
    schedulePump()
  }
}
