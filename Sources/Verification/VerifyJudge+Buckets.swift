import Bridge
import BridgeConfiguration
import Foundation
import JetStream
import Mapping
import Oplog
import Parity

/// Entries of KV buckets that are rightly gone.
extension VerifyJudge {
  /// Whether a later purge of its key has removed it.
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
      purge = try await lastPurge(of: subject, in: place)
      purgeOfSubject[subject] = purge
    }
    return purge > hole.sequences.upperBound
  }

  /// The sequence of a key's newest purge; 0: there is none. Not only the key's first message is looked at: a server
  /// that was killed may have found older entries again.
  private func lastPurge(
    of subject: String, in place: VerifyStream
  ) async throws -> UInt64 {
    var last: UInt64 = 0
    var next: UInt64 = 1
    // As many as the key's history at most.
    while let message = try await jetStream.nextMessage(
      in: place.name, from: next, subject: subject)
    {
      if message.header("KV-Operation") == "PURGE" { last = message.sequence }
      next = message.sequence + 1
    }
    return last
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
