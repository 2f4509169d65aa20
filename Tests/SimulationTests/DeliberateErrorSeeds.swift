import Testing

/// For each deliberate error a seed whose history finds it, and words of what the judge says then. Histories are of one
/// bridge, most of them of one instance.
///
/// Seeds mean other histories after every change of faults, scenarios or the world: `simulate --find-errors` finds them
/// again.
struct DeliberateErrorSeed: Sendable, CustomTestStringConvertible {
  var error: String
  var seed: Int
  var instances: Int
  var words: String

  /// About groups that are cut over.
  private static let ofCutover: Set<String> = [
    "fence_from_local_optime", "verification_left_out", "phase_before_drain",
    "rollback_without_overlap",
  ]

  var history: History {
    History(seed: seed, instances: instances, cutsOver: Self.ofCutover.contains(error))
  }

  var testDescription: String { "\(error), \(history.testDescription)" }

  /// A history, whatever is switched on in it.
  struct History: Hashable, Comparable, Sendable, CustomTestStringConvertible {
    var seed: Int
    var instances: Int
    /// A group is cut over.
    var cutsOver = false

    /// For `simulate`.
    var arguments: [String] {
      ["--seed", "\(seed)", "--brief", "--instances", "\(instances)", "--bridges", "1"]
        + (cutsOver ? ["--cutover"] : [])
    }

    var testDescription: String { arguments.joined(separator: " ") }

    static func < (left: Self, right: Self) -> Bool {
      (left.cutsOver ? 1 : 0, left.instances, left.seed)
        < (right.cutsOver ? 1 : 0, right.instances, right.seed)
    }
  }

  static let histories = Set(all.map(\.history)).sorted()

  static let all: [DeliberateErrorSeed] = list.split(separator: "\n").compactMap { line in
    let parts = line.split(separator: " ", maxSplits: 3)
    guard parts.count == 4, let seed = Int(parts[1]), let instances = Int(parts[2]) else {
      return nil
    }
    return DeliberateErrorSeed(
      error: String(parts[0]), seed: seed, instances: instances, words: String(parts[3]))
  }

  /// Errors that no history has found for certain.
  static let open: Set<String> = [
    "sequence_not_asserted", "open_entry_claimed", "gap_ignored", "first_of_batch_asserts",
    "zero_ack_counted", "no_fence", "fence_after_tail", "lease_by_wall_clock",
    "checkpoint_not_fenced", "fence_from_local_optime", "verification_left_out",
    // Found in longer histories with --cutover (docs/simulation.md).
    "phase_before_drain", "rollback_without_overlap",
  ]

  private static let list = """
    checkpoint_before_ack 381 1 the checkpoint claims
    open_transaction_forgotten 381 1 is open
    memory_trusted 381 1 the checkpoint resumes
    no_read_back 1528 1 holds
    stale_tail_read 381 1 is stored a second time
    dedup_window_trusted 1528 1 is stored a second time
    loss_unnoticed 966 1 holds
    recreation_unnoticed 966 1 holds
    others_message_taken 1894 1 the checkpoint claims
    consumed_republished 563 1 is stored a second time
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
    """
}
