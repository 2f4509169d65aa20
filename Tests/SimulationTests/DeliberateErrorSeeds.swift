import Testing

/// For each deliberate error a seed whose history finds it, and words of what the judge says then.
///
/// Seeds mean other histories after every change of faults, scenarios or the world: `simulate --find-errors` finds them
/// again.
struct DeliberateErrorSeed: Sendable, CustomTestStringConvertible {
  var error: String
  var seed: Int
  var words: String

  var testDescription: String { "\(error), seed \(seed)" }

  static let all: [DeliberateErrorSeed] = list.split(separator: "\n").compactMap { line in
    let parts = line.split(separator: " ", maxSplits: 2)
    guard parts.count == 3, let seed = Int(parts[1]) else { return nil }
    return DeliberateErrorSeed(error: String(parts[0]), seed: seed, words: String(parts[2]))
  }

  /// Errors that no history has found for certain.
  static let open: Set<String> = ["sequence_not_asserted"]

  private static let list = """
    checkpoint_before_ack 381 the checkpoint claims
    open_entry_claimed 848 the checkpoint claims
    open_transaction_forgotten 381 is open
    memory_trusted 381 the checkpoint resumes
    no_read_back 786 is nothing that was committed
    stale_tail_read 381 is nothing that was committed
    dedup_window_trusted 786 is nothing that was committed
    loss_unnoticed 966 the checkpoint claims
    recreation_unnoticed 966 the checkpoint claims
    others_message_taken 786 the checkpoint claims
    consumed_republished 1533 holds
    cut_transaction_skipped 1271 holds
    term_not_compared 786 the replica set is another one
    starts_behind 381 the checkpoint resumes
    reads_uncommitted 381 is nothing that was committed
    transaction_split 1885 is in another batch
    letter_not_awaited 381 was never stored
    refusal_counted 786 the checkpoint claims
    zero_ack_counted 1406 ROOMS
    refused_batch_skipped 966 the checkpoint claims
    gap_ignored 1420 holds
    ack_timeout_ignored 381 for an ack
    reading_is_progress 1528 health says
    """
}
