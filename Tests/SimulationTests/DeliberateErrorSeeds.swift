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

  private static let list = """
    refusal_counted 3 the checkpoint claims
    """
}
