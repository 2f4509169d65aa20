/// What happened in a history: a digest of everything, and the newest lines for a reader.
final class History {
  struct Line {
    var time: Int64
    var text: String
  }

  private(set) var digest: UInt64 = 0xCBF2_9CE4_8422_2325
  private var lines: [Line] = []
  private var first = 0
  /// Lines are kept: a failed history is run once more to tell what happened.
  let keepsLines: Bool
  private static let most = 400_000

  init(keepsLines: Bool) { self.keepsLines = keepsLines }

  /// Takes a fact into the digest.
  func note(_ time: Int64, _ values: UInt64...) {
    mix(UInt64(bitPattern: time))
    for value in values { mix(value) }
    if tellsAll { print(time, values) }
  }

  /// Every fact is printed as it is taken in: to find where two runs part.
  ///
  /// Invariant: written by the command before the simulation begins.
  nonisolated(unsafe) static var tellsAll = false
  private var tellsAll: Bool { Self.tellsAll }

  /// Every line is printed as it comes, in the first and only run of a history.
  ///
  /// Invariant: written by the command before the simulation begins.
  nonisolated(unsafe) static var tellsStory = false

  func note(_ time: Int64, _ text: @autoclosure () -> String) {
    if Self.tellsStory { print(Nano.text(time), text()) }
    guard keepsLines else { return }
    if lines.count == Self.most {
      lines[first] = Line(time: time, text: text())
      first = (first + 1) % Self.most
    } else {
      lines.append(Line(time: time, text: text()))
    }
  }

  private func mix(_ value: UInt64) {
    var mixed = (digest ^ value) &* 0x9E37_79B9_7F4A_7C15
    mixed ^= mixed >> 29
    digest = mixed &* 0xBF58_476D_1CE4_E5B9
  }

  /// The newest lines, oldest first.
  func last(_ count: Int) -> [Line] {
    let all = lines[first...] + lines[..<first]
    return Array(all.suffix(count))
  }
}

extension Duration {
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    return seconds * Nano.second + attoseconds / 1_000_000_000
  }
}

/// Nanoseconds.
enum Nano {
  static let micro: Int64 = 1_000
  static let milli: Int64 = 1_000_000
  static let second: Int64 = 1_000_000_000
  static let minute: Int64 = 60 * second

  static func text(_ time: Int64) -> String {
    let millis = time / milli
    let fraction = String(millis % 1000 + 1000).dropFirst()
    return "\(millis / 1000).\(fraction)"
  }
}
