import JetStream
import Mapping
import NIOCore
import Oplog

/// Dead letters whose ids the stream has already.
///
/// A letter carries the id of the message it would have been. In the dead-letter stream that id may be
/// taken: by another bridge's letter of the same event, or by the letter of an earlier event for which
/// a template made the same id. The server then stores nothing, so such an answer is examined, and
/// from then on letters have ids that are unique (`DeadLetterID`).
extension Pipeline {
  /// Settles the letter in flight if the message with its id is that letter; else ends the epoch, and
  /// the next one sends it under an id of its own.
  func confirmLetter(_ index: Int, _ progress: LaneProgress, storedAt sequence: UInt64) {
    let lane = lanes[index]
    guard let epoch, let letter = lane.inFlight.first else { return }
    lane.isConfirming = true
    let jetStream = JetStreamClient(epoch.connection)
    let inbox = epoch.inbox
    let stream = lane.name
    Task { [ownership, eventLoop] in
      let found: Result<StreamObservation.Own?, JetStreamError>
      do throws(JetStreamError) {
        let message = try await jetStream.message(in: stream, at: sequence)
        found = .success(message.flatMap { ownership.own($0, in: stream) })
      } catch {
        found = .failure(error)
      }
      eventLoop.execute {
        // The epoch may have ended meanwhile, and its lane with it.
        guard self.epoch?.inbox == inbox else { return }
        self.confirmed(self.lanes[index], letter, progress, found)
      }
    }
  }

  private func confirmed(
    _ lane: Lane, _ letter: InFlightEvent, _ progress: LaneProgress,
    _ found: Result<StreamObservation.Own?, JetStreamError>
  ) {
    lane.isConfirming = false
    switch found {
    case .failure(let error):
      fail(.publishFailed(lane: lane.name, error))
    case .success(let message):
      // With an id of its own it can only be the letter itself, even if that was removed since.
      if maker.qualifiesLetterIDs || message.map({ isLetter($0, letter) }) ?? false {
        settle(lane, progress)
        schedulePump()
        return
      }
      maker.qualifiesLetterIDs = true
      let error = JetStreamError(
        code: 0, operation: "publish to \(lane.name)",
        message: """
          the id of the dead letter of \(letter.position) belongs to another message; dead letters \
          have ids of their own from now on
          """, remedy: .reread)
      fail(.publishFailed(lane: lane.name, error))
    }
  }

  private func isLetter(_ message: StreamObservation.Own, _ letter: InFlightEvent) -> Bool {
    let rule = Int(letter.rule)
    guard message.rule == ruleSet.id(rule) else { return false }
    if message.position == letter.position { return true }
    // The same snapshot read again, after a kill say, has its documents at other indexes. Its positional ids
    // say which document they are of.
    guard min(message.position.index, letter.position.index) >= SnapshotDecoder.firstIndex,
      message.position.entry == letter.position.entry
    else { return false }
    return rule < rules.count && rules[rule].id == .positional && rules[rule].outbox == nil
  }
}
