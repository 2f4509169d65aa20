import Testing

/// For each deliberate error a seed whose history finds it, and words of what the judge says then. Histories are of one
/// bridge: of one or three instances, with a bucket (`1b`), or those that aim at the error (`Aim`).
///
/// Seeds mean other histories after every change of faults, scenarios or the world: `simulate --find-errors` finds them
/// again.
struct DeliberateErrorSeed: Sendable, CustomTestStringConvertible {
  var error: String
  var history: History
  var words: String

  var testDescription: String { "\(error), \(history.testDescription)" }

  /// A history, whatever is switched on in it.
  struct History: Hashable, Comparable, Sendable, CustomTestStringConvertible {
    var seed: Int
    /// Of the bridge; nil: it aims at an error.
    var instances: Int?
    /// A rule puts entries into a bucket.
    var hasBucket = false
    var aim: String?

    /// For `simulate`.
    var arguments: [String] {
      let scenario =
        instances.map { ["--instances", "\($0)", "--bridges", "1"] } ?? ["--aimed", aim ?? ""]
      return ["--seed", "\(seed)", "--brief"] + scenario + (hasBucket ? ["--buckets"] : [])
    }

    var testDescription: String { arguments.joined(separator: " ") }

    static func < (left: Self, right: Self) -> Bool {
      (left.aim ?? "", left.instances ?? 0, left.seed)
        < (right.aim ?? "", right.instances ?? 0, right.seed)
    }
  }

  static let histories = Set(all.map(\.history)).sorted()

  static let all: [DeliberateErrorSeed] = list.split(separator: "\n").compactMap { line in
    let parts = line.split(separator: " ", maxSplits: 3)
    guard parts.count == 4, let seed = Int(parts[1]) else { return nil }
    let hasBucket = parts[2].hasSuffix("b")
    let instances = Int(hasBucket ? parts[2].dropLast() : parts[2])
    return DeliberateErrorSeed(
      error: String(parts[0]),
      history: History(
        seed: seed, instances: instances, hasBucket: hasBucket,
        aim: instances == nil ? String(parts[0]) : nil),
      words: String(parts[3]))
  }

  /// Errors that no history has found for certain.
  static let open: Set<String> = [
    "open_entry_claimed", "first_of_batch_asserts",
  ]

  private static let list = """
    checkpoint_before_ack 381 1 the checkpoint claims
    open_transaction_forgotten 381 1 is open
    memory_trusted 381 1 the checkpoint resumes
    no_read_back 1528 1 holds
    stale_tail_read 381 1 is stored a second time
    dedup_window_trusted 1528 1 is stored a second time
    loss_unnoticed 966 1 not caught up
    recreation_unnoticed 966 1 not caught up
    others_message_taken 1894 1 the checkpoint claims
    consumed_republished 563 1 is stored a second time
    evicted_entry_put 21002 1b which is newer
    cut_transaction_skipped 1271 1 holds
    term_not_compared 786 1 the replica set is another one
    starts_behind 381 1 the checkpoint resumes
    reads_uncommitted 381 1 is nothing that was committed
    transaction_split 1110 1 is in another batch
    letter_not_awaited 381 1 was never stored
    refusal_counted 786 1 the checkpoint claims
    refused_batch_skipped 959 1 the checkpoint claims
    ack_timeout_ignored 381 1 for an ack
    reading_is_progress 381 1 health says
    lapsed_lease_ignored 372 3 is stored a second time
    sequence_not_asserted 1 aimed is stored a second time
    gap_ignored 1 aimed holds
    zero_ack_counted 1 aimed the checkpoint claims
    no_fence 1 aimed is stored a second time
    fence_after_tail 2 aimed is stored a second time
    lease_by_wall_clock 1 aimed behind a message of
    answers_on_lease_only 1 aimed behind a message of
    checkpoint_not_fenced 4 aimed behind a message of
    fence_from_local_optime 3 aimed the bridge has published
    verification_left_out 1 aimed is gone
    phase_before_drain 2 aimed is not stored
    rollback_without_overlap 1 aimed is not stored
    """
}
