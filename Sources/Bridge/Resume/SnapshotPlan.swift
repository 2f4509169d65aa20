import BridgeConfiguration
import Oplog

/// How a snapshot begins or continues: after which documents, and which of the others the streams hold.
package struct SnapshotPlan: Sendable {
  package var snapshot: Checkpoint.Snapshot
  package var origin: Checkpoint.Origin
  /// The number of the first event: higher than any in the streams.
  package var firstIndex: UInt32
  /// By stream: ids of messages of documents behind the marker. A crash came between their acks and
  /// the checkpoint.
  package var stored: [String: Set<[UInt8]>] = [:]
  /// What streams have lost since it began.
  package var losses: [ResumePlan.Loss] = []
  /// Our last message in each stream.
  package var found: [String: Checkpoint.Stream] = [:]

  init(
    _ snapshot: Checkpoint.Snapshot, _ origin: Checkpoint.Origin, _ situation: EpochSituation,
    _ facts: EpochFacts
  ) throws(Undecided) {
    let (observations, checkpoint) = (situation.streams, situation.checkpoint)
    self.snapshot = snapshot
    self.origin = origin
    for stream in observations where stream.onLoss != .continue {
      guard let acked = checkpoint?.streams[stream.name], stream.hasLost(acked) else { continue }
      losses.append(
        ResumePlan.Loss(
          stream: stream.name, from: stream.tail?.position, to: acked.position,
          acknowledgedSequence: acked.sequence, lastSequence: stream.lastSequence))
    }
    if losses.contains(where: { $0.to.entry >= snapshot.position }) {
      // Their documents are unknown: all are read again, and stored messages are kept.
      self.snapshot = Checkpoint.Snapshot(at: snapshot.point, of: snapshot.selection)
    }
    let floor = self.snapshot.floor
    firstIndex = floor
    let acknowledged = checkpoint?.streams.values.map(\.position) ?? []
    for position in acknowledged + observations.compactMap({ $0.tail?.position })
    where position.entry == snapshot.position && position.index < .max {
      firstIndex = max(firstIndex, position.index + 1)
    }
    for stream in observations { found[stream.name] = stream.found }
    for stream in observations where stream.lastSequence > 0 {
      guard let last = stream.tail?.position, last.entry == snapshot.position, last.index >= floor
      else { continue }
      stored[stream.name] = try facts.snapshotIDs(
        in: stream, ofSnapshotAt: snapshot.position, from: floor)
    }
  }
}
