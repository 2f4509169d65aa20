/// A regular expression of ECMA-262, with Unicode semantics (the flag u), to be found anywhere in a
/// text.
///
/// Nearly all patterns become a table that is looked up once for each byte. A pattern whose table
/// would be too large is followed in all its states at once; one that looks around or refers back
/// is matched by trying. Neither can take long: steps are counted, and a text that uses them up is
/// `tooComplex`.
package final class Pattern: Sendable {
  package let text: String
  private let form: Form

  private enum Form: Sendable {
    case table(PatternTable)
    case automaton(PatternAutomaton)
    case program(PatternProgram)
  }

  package enum Outcome {
    case found, missing, tooComplex
  }

  /// Steps a match may take: some milliseconds, and more for longer texts.
  private static func maximumSteps(_ text: UnsafeRawBufferPointer) -> Int {
    1_000_000 + 32 * text.count
  }

  package init(_ text: String) throws(PatternError) {
    self.text = text
    let (node, groups) = try PatternParser.parse(text)
    if let automaton = PatternAutomaton(node) {
      if let table = PatternTable(automaton, node) {
        form = .table(table)
      } else {
        form = .automaton(automaton)
      }
    } else if let program = PatternProgram(node, groups: groups) {
      form = .program(program)
    } else {
      throw PatternError(
        message: "the pattern is too large, by its counts of repetitions", offset: 0)
    }
  }

  /// Whether a text is a pattern at all.
  package static func isValid(_ text: UnsafeRawBufferPointer) -> Bool {
    (try? PatternParser.check(String(decoding: text, as: UTF8.self))) != nil
  }

  /// The table, where there is one.
  package var table: PatternTable? {
    if case .table(let table) = form { return table }
    return nil
  }

  /// Looks for the pattern in `text`, which must be UTF-8.
  package func search(_ text: UnsafeRawBufferPointer, _ scratch: inout PatternScratch) -> Outcome {
    var steps = Self.maximumSteps(text)
    return search(text, &scratch, steps: &steps)
  }

  /// The same within `steps`, of which those it took are taken. A pattern with a table takes none.
  package func search(
    _ text: UnsafeRawBufferPointer, _ scratch: inout PatternScratch, steps: inout Int
  ) -> Outcome {
    let found: Bool?
    switch form {
    case .table(let table): found = table.view.matches(text)
    case .automaton(let automaton):
      found = automaton.matches(text, steps: &steps, scratch: &scratch)
    case .program(let program):
      found = program.matches(text, steps: &steps, scratch: &scratch)
    }
    guard let found else { return .tooComplex }
    return found ? .found : .missing
  }
}
