import JetStream
import Oplog

/// Reads, from a stream's leader, what the bridge left at its end.
struct StreamTail: Sendable {
  let jetStream: JetStreamClient

  /// How many messages are asked for at once while walking back over other publishers' ones.
  private static let stride = 32

  func observe(
    stream: String, info: StreamInfo, exclusive: Bool, isDeadLetter: Bool,
    checkpoint: Checkpoint.Stream?
  ) async throws(JetStreamError) -> StreamObservation {
    var observation = StreamObservation(
      name: stream, created: info.created, firstSequence: info.firstSequence,
      lastSequence: info.lastSequence, exclusive: exclusive, isDeadLetter: isDeadLetter, tail: nil)
    guard info.messages > 0 else { return observation }
    var floor = max(info.firstSequence, 1)
    if let checkpoint, checkpoint.created == info.created, checkpoint.sequence <= info.lastSequence
    {
      if checkpoint.sequence >= floor,
        let there = try await jetStream.message(in: stream, at: checkpoint.sequence),
        own(there)?.position != checkpoint.position
      {
        observation.checkpointOverwritten = true
      } else {
        floor = max(floor, checkpoint.sequence)
      }
    }
    observation.tail = try await lastOwn(in: stream, from: info.lastSequence, downTo: floor)
    return observation
  }

  /// Our messages behind a sequence, oldest first.
  func own(in stream: String, after floor: UInt64, through last: UInt64)
    async throws(JetStreamError) -> [StreamObservation.Own]
  {
    var found: [StreamObservation.Own] = []
    var next = floor + 1
    while next <= last {
      let high = min(last, next + UInt64(Self.stride) - 1)
      found += try await own(in: stream, next...high)
      next = high + 1
    }
    return found
  }

  /// Ids of our messages of the snapshot at `position` that have an index of `floor` or more: from the
  /// stream's end back to the first message of ours that comes before those.
  func identities(
    in stream: String, ofSnapshotAt position: OplogPosition, from floor: UInt32,
    _ sequences: ClosedRange<UInt64>
  ) async throws(JetStreamError) -> Set<[UInt8]> {
    let bound = EventPosition(entry: position, index: floor)
    var found: Set<[UInt8]> = []
    var high = sequences.upperBound
    while high >= sequences.lowerBound {
      let low = high - min(UInt64(Self.stride * 4) - 1, high - sequences.lowerBound)
      let messages = try await own(in: stream, low...high)
      for message in messages where message.position >= bound {
        found.insert(Array(message.id.utf8))
      }
      guard messages.allSatisfy({ $0.position >= bound }), low > 0 else { break }
      high = low - 1
    }
    return found
  }

  /// Our last message between the two sequences, newest first.
  private func lastOwn(in stream: String, from last: UInt64, downTo floor: UInt64)
    async throws(JetStreamError)
    -> StreamObservation.Own?
  {
    var next = last
    let step = Self.stride
    while next >= floor, next > 0 {
      let low = next >= UInt64(step) ? max(floor, next - UInt64(step) + 1) : floor
      let range = low...next
      // The newest is the last, but for messages that were sent late.
      let newest = try await own(in: stream, range).max { $0.position < $1.position }
      if let newest { return newest }
      guard low > floor else { return nil }
      next = low - 1
    }
    return nil
  }

  /// Our messages among those sequences, oldest first; all are asked for at once.
  private func own(in stream: String, _ range: ClosedRange<UInt64>) async throws(JetStreamError)
    -> [StreamObservation.Own]
  {
    do {
      return try await withThrowingTaskGroup(of: StreamObservation.Own?.self) { group in
        for sequence in range {
          group.addTask { try await jetStream.message(in: stream, at: sequence).flatMap(own) }
        }
        var all: [StreamObservation.Own] = []
        for try await one in group { if let one { all.append(one) } }
        return all.sorted { $0.sequence < $1.sequence }
      }
    } catch let error as JetStreamError {
      throw error
    } catch {
      throw JetStreamError(
        code: 0, operation: "STREAM.MSG.GET.\(stream)", message: "\(error)", remedy: .backOff)
    }
  }

  /// The message as one of ours, or nil if somebody else published it: an operator who replays dead
  /// letters, too, since those say nothing of how far the stream is.
  func own(_ message: StoredMessage) -> StreamObservation.Own? {
    guard message.header(DeadLetter.replayed) == nil,
      let position = message.header("Tailrace-Position").flatMap({ EventPosition($0) }),
      let rule = message.header("Tailrace-Rule")
    else { return nil }
    return StreamObservation.Own(
      sequence: message.sequence, position: position, rule: rule,
      id: message.header("Nats-Msg-Id") ?? "")
  }
}
