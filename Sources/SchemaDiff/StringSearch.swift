import JSON
import JSONSchema
import Patterns

/// Looks for a string: by trying likely ones, then through the automata of all patterns at once, shortest first,
/// which also finds out that there is none.
struct StringSearch {
  private let conjunction: Conjunction
  private let solver: Solver
  private var least = 0
  private var most = Int.max
  private var found: [Int] = []
  private var missing: [Int] = []
  private var formats: [StringFormat] = []
  private var notFormats: [StringFormat] = []
  private var excluded: [Text] = []

  /// Strings longer than this aren't made.
  private static let longest = 100_000
  /// How many strings of the automata are offered to formats.
  private static let offers = 40

  init(_ conjunction: Conjunction, _ solver: Solver) {
    self.conjunction = conjunction
    self.solver = solver
    for (literal, _) in conjunction.sorted { read(literal) }
    for format in formats { most = min(most, format.outline.longest) }
  }

  private mutating func read(_ literal: Literal) {
    switch solver.builder.table[literal] {
    case .length(let count):
      if literal.isPositive { least = max(least, count) } else { most = min(most, count - 1) }
    case .pattern(let number):
      if literal.isPositive { found.append(number) } else { missing.append(number) }
    case .format(let format):
      if literal.isPositive { formats.append(format) } else { notFormats.append(format) }
    case .value(let text):
      if case .string(let value)? = solver.builder.table.values[text] {
        excluded.append(Text(value))
      }
    default: break
    }
  }

  var answer: Answer {
    guard least <= most else { return .none }
    guard least <= Self.longest else { return .undecided("strings of \(least) characters") }
    if formats.contains(where: { one in notFormats.contains { one.implies($0) } }) {
      return .none
    }
    for text in likely where fits(text) { return .found(.string(text)) }
    return byAutomata
  }

  private func fits(_ text: String) -> Bool {
    conjunction.atoms.keys.allSatisfy { solver.holds($0, .string(text)) == true }
  }

  private var likely: [String] {
    var texts = formats.flatMap(\.samples)
    for length in Set([least, least + 1, most]).sorted() where length <= Self.longest {
      texts += formats.compactMap { $0.sample(ofLength: length) }
    }
    texts += ["a", "b", "text", "other", "1", "A", "-", " ", "é", ""]
    if least > 0 { texts.append(String(repeating: "a", count: least)) }
    if most < 1_000, most > 0 { texts.append(String(repeating: "a", count: most)) }
    if found.isEmpty, missing.isEmpty, formats.isEmpty {
      // One of them isn't excluded.
      let length = max(least, min(most, String(excluded.count).count + 1))
      for number in 0...excluded.count {
        let digits = String(number)
        texts.append(
          String(repeating: "a", count: max(0, length - digits.count)) + digits.suffix(length))
      }
    }
    return texts
  }

  // MARK: Automata

  private var byAutomata: Answer {
    var doubt: String?
    var automata: [TextAutomata.Part] = []
    func add(_ pattern: Pattern, isFound: Bool) {
      guard let table = pattern.table else {
        doubt = "the pattern \(pattern.text) is no regular expression"
        return
      }
      automata.append(TextAutomata.Part(table: table, isFound: isFound))
    }
    for number in found { add(solver.builder.table.patterns[number], isFound: true) }
    for number in missing { add(solver.builder.table.patterns[number], isFound: false) }
    for format in formats {
      for pattern in format.outline.wide { add(pattern, isFound: true) }
      if !format.outline.isExact { doubt = doubt ?? "which strings are of a format" }
    }
    for format in notFormats {
      if let pattern = format.outline.narrow { add(pattern, isFound: false) }
      if !format.outline.isExact { doubt = doubt ?? "which strings are not of a format" }
    }
    var without = excluded
    for _ in 0..<Self.offers {
      var search = TextAutomata(automata, least: least, most: most, excluded: without)
      switch search.shortest() {
      case .found(let text):
        if fits(text) { return .found(.string(text)) }
        guard let doubt else { return .undecided("a string that should fit doesn't") }
        without.append(Text(text))
        if without.count == excluded.count + Self.offers { return .undecided(doubt) }
      case .none: return without.count == excluded.count ? .none : .undecided(doubt ?? "")
      case .tooMany: return .undecided("patterns whose combination has too many states")
      }
    }
    return .undecided(doubt ?? "")
  }
}
