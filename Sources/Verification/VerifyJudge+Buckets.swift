import Bridge
import BridgeConfiguration
import Foundation
import JetStream
import Mapping
import Oplog
import Parity

/// Entries of KV buckets that are rightly gone.
extension VerifyJudge {
  /// Whether a later purge of its key has removed it: the key's first message is that purge.
  mutating func isPurged(
    _ finding: Finding, _ hole: StreamLedger.Hole, _ place: VerifyStream
  ) async throws -> Bool {
    guard let rule = finding.rule,
      verification.configuration.rules[rule].route.isBucket, !finding.isLetter
    else { return false }
    let subject = finding.mismatch.subject
    let purge: UInt64
    if let known = purgeOfSubject[subject] {
      purge = known
    } else {
      let first = try await jetStream.nextMessage(in: place.name, from: 1, subject: subject)
      purge = first?.header("KV-Operation") == "PURGE" ? first?.sequence ?? 0 : 0
      purgeOfSubject[subject] = purge
    }
    return purge > hole.sequences.upperBound
  }

  /// Whether the entry's own time to live is over.
  func hasExpired(_ finding: Finding) -> Bool {
    guard let rule = finding.rule, let position = finding.mismatch.position,
      let ttl = verification.configuration.rules[rule].keyTTL, !finding.isLetter
    else { return false }
    // As far as the servers' clocks agree.
    return Int64(Date.now.timeIntervalSince1970) - Int64(position.entry.seconds) >= Int64(ttl) - 5
  }
}
