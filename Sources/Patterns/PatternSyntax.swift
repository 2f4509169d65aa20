/// Why a pattern can't be used.
package struct PatternError: Error, Equatable, CustomStringConvertible {
  package var message: String
  /// Counted in characters from the start of the pattern.
  package var offset: Int
  package var description: String { "\(message) (at character \(offset + 1))" }
}

/// A parsed pattern: ECMA-262's grammar with the flag u.
indirect enum PatternNode: Sendable {
  case empty
  /// One character.
  case set(CodePointSet)
  case sequence([PatternNode])
  case alternatives([PatternNode])
  case repeated(PatternNode, least: Int, most: Int?, isLazy: Bool, captures: Range<Int>)
  /// A group that captures, counted from 1.
  case capture(PatternNode, Int)
  case start
  case end
  case wordBoundary(isNegated: Bool)
  case look(PatternNode, isBehind: Bool, isNegated: Bool, captures: Range<Int>)
  case backreference(Int)
}

extension PatternNode {
  /// For `^[…]{least,most}$` with a set within ASCII: the parts of that.
  var wholeRun: (set: CodePointSet, least: Int, most: Int)? {
    guard case .sequence(let parts) = self, parts.count == 3, case .start = parts[0],
      case .end = parts[2]
    else { return nil }
    switch parts[1] {
    case .set(let set) where set.isASCII: return (set, 1, 1)
    case .repeated(.set(let set), let least, let most, _, _) where set.isASCII:
      return (set, least, most ?? .max)
    default: return nil
    }
  }
}

/// Parses by ECMA-262's grammar for patterns with the flag u: what other dialects have beyond it
/// is an error.
struct PatternParser {
  private let text: [UInt32]
  private var at = 0
  private var groups = 0
  private var names: [[UInt32]: Int] = [:]
  private var depth = 0
  /// Known before the parse, as references may come before the groups they mean.
  private let groupTotal: Int
  private let groupNames: [[UInt32]: Int]

  private static let maximumDepth = 100
  /// Counts beyond this mean "as many as there are".
  private static let maximumCount = 1 << 24

  static func parse(_ pattern: String) throws(PatternError) -> (node: PatternNode, groups: Int) {
    try parse(pattern, needsSets: true)
  }

  /// Whether it is one; properties of characters are looked up by their names only, as working
  /// their sets out takes milliseconds.
  static func check(_ pattern: String) throws(PatternError) {
    _ = try parse(pattern, needsSets: false)
  }

  private static func parse(
    _ pattern: String, needsSets: Bool
  ) throws(PatternError) -> (node: PatternNode, groups: Int) {
    let scalars = pattern.unicodeScalars.map(\.value)
    // First without any reference checked, to learn the groups.
    var survey = PatternParser(
      text: scalars, groupTotal: .max, groupNames: [:], isSurvey: true, needsSets: needsSets)
    _ = try survey.whole()
    var parser = PatternParser(
      text: scalars, groupTotal: survey.groups, groupNames: survey.names, isSurvey: false,
      needsSets: needsSets)
    return (try parser.whole(), survey.groups)
  }

  private let isSurvey: Bool
  private let needsSets: Bool

  private static let lookarounds = [
    ("(?=", false, false), ("(?!", false, true), ("(?<=", true, false), ("(?<!", true, true),
  ]

  private init(
    text: [UInt32], groupTotal: Int, groupNames: [[UInt32]: Int], isSurvey: Bool, needsSets: Bool
  ) {
    self.needsSets = needsSets
    self.text = text
    self.groupTotal = groupTotal
    self.groupNames = groupNames
    self.isSurvey = isSurvey
  }

  private func fail(_ message: String) -> PatternError {
    PatternError(message: message, offset: at)
  }

  private static func code(_ character: Unicode.Scalar) -> UInt32 { character.value }

  private var current: UInt32? { at < text.count ? text[at] : nil }

  private func looking(at literal: String) -> Bool {
    var index = at
    for scalar in literal.unicodeScalars {
      guard index < text.count, text[index] == scalar.value else { return false }
      index += 1
    }
    return true
  }

  private mutating func eat(_ literal: String) -> Bool {
    guard looking(at: literal) else { return false }
    at += literal.unicodeScalars.count
    return true
  }

  // MARK: Structure

  private mutating func whole() throws(PatternError) -> PatternNode {
    let node = try disjunction()
    guard at == text.count else { throw fail("a ')' without its '('") }
    return node
  }

  private mutating func disjunction() throws(PatternError) -> PatternNode {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.maximumDepth else {
      throw fail("groups are nested more than \(Self.maximumDepth) deep")
    }
    var alternatives = [try alternative()]
    while eat("|") { alternatives.append(try alternative()) }
    return alternatives.count == 1 ? alternatives[0] : .alternatives(alternatives)
  }

  private mutating func alternative() throws(PatternError) -> PatternNode {
    var terms: [PatternNode] = []
    while let next = current, next != Self.code("|"), next != Self.code(")") {
      terms.append(try term())
    }
    switch terms.count {
    case 0: return .empty
    case 1: return terms[0]
    default: return .sequence(terms)
    }
  }

  private mutating func term() throws(PatternError) -> PatternNode {
    if let assertion = try assertion() {
      if let next = current, Self.isQuantifier(next) {
        throw fail("an assertion can't be repeated")
      }
      return assertion
    }
    let before = groups
    let atom = try self.atom()
    return try quantified(atom, captures: before + 1..<groups + 1)
  }

  private static func isQuantifier(_ code: UInt32) -> Bool {
    code == Self.code("*") || code == Self.code("+") || code == Self.code("?")
      || code == Self.code("{")
  }

  private mutating func assertion() throws(PatternError) -> PatternNode? {
    if eat("^") { return .start }
    if eat("$") { return .end }
    if eat("\\b") { return .wordBoundary(isNegated: false) }
    if eat("\\B") { return .wordBoundary(isNegated: true) }
    guard current == Self.code("(") else { return nil }
    for (opening, isBehind, isNegated) in Self.lookarounds where eat(opening) {
      let before = groups
      let inner = try disjunction()
      try close()
      return .look(
        inner, isBehind: isBehind, isNegated: isNegated, captures: before + 1..<groups + 1)
    }
    return nil
  }

  private mutating func close() throws(PatternError) {
    guard eat(")") else { throw fail("a '(' without its ')'") }
  }

  private mutating func quantified(
    _ atom: PatternNode, captures: Range<Int>
  ) throws(PatternError) -> PatternNode {
    let least: Int
    var most: Int?
    if eat("*") {
      least = 0
    } else if eat("+") {
      least = 1
    } else if eat("?") {
      least = 0
      most = 1
    } else if eat("{") {
      guard let from = number() else { throw fail("'{' must be followed by a number, or escaped") }
      least = from
      most = from
      if eat(",") { most = number() }
      guard eat("}") else { throw fail("a '{' without its '}'") }
      if let most, most < least { throw fail("the counts of a repetition are the wrong way round") }
    } else {
      return atom
    }
    let isLazy = eat("?")
    if let next = current, Self.isQuantifier(next) { throw fail("nothing to repeat") }
    return .repeated(atom, least: least, most: most, isLazy: isLazy, captures: captures)
  }

  private mutating func number() -> Int? {
    var value: Int?
    while let digit = current, (Self.code("0")...Self.code("9")).contains(digit) {
      value = min((value ?? 0) * 10 + Int(digit - Self.code("0")), Self.maximumCount)
      at += 1
    }
    return value
  }

  // MARK: Atoms

  private mutating func atom() throws(PatternError) -> PatternNode {
    guard let next = current, let scalar = Unicode.Scalar(next) else { throw fail("nothing here") }
    switch scalar {
    case ".":
      at += 1
      return .set(.dot)
    case "[":
      at += 1
      return .set(try characterClass())
    case "(": return try group()
    case "\\":
      at += 1
      return try atomEscape()
    case "*", "+", "?": throw fail("nothing to repeat before '\(scalar)'")
    case "{", "}", "]": throw fail("'\(scalar)' must be escaped here")
    default:
      at += 1
      return .set(CodePointSet(next))
    }
  }

  private mutating func group() throws(PatternError) -> PatternNode {
    at += 1
    if eat("?:") {
      let inner = try disjunction()
      try close()
      return inner
    }
    if looking(at: "?"), !looking(at: "?<") {
      at += 1
      throw fail("'(?' starts nothing that ECMA-262 knows here; inline flags aren't part of it")
    }
    groups += 1
    let number = groups
    if eat("?<") {
      let name = try groupName()
      guard names[name] == nil else { throw fail("two groups of the same name") }
      names[name] = number
    }
    let inner = try disjunction()
    try close()
    return .capture(inner, number)
  }

  private mutating func groupName() throws(PatternError) -> [UInt32] {
    var name: [UInt32] = []
    while let next = current, next != Self.code(">") {
      at += 1
      var code = next
      if code == Self.code("\\") {
        guard eat("u") else { throw fail("only \\u escapes are allowed in a group's name") }
        code = try unicodeEscape()
      }
      guard let scalar = Unicode.Scalar(code) else { throw fail("not a group's name") }
      let isFirst = name.isEmpty
      let isFine =
        scalar == "$" || scalar == "_"
        || (isFirst
          ? scalar.properties.isIDStart
          : scalar.properties.isIDContinue || code == 0x200C || code == 0x200D)
      guard isFine else { throw fail("a group's name must be an identifier") }
      name.append(code)
    }
    guard eat(">"), !name.isEmpty else { throw fail("a group's name must stand between < and >") }
    return name
  }

  private mutating func atomEscape() throws(PatternError) -> PatternNode {
    guard let next = current else { throw fail("a '\\' at the end") }
    if (Self.code("1")...Self.code("9")).contains(next) {
      guard let number = number() else { throw fail("a number was expected") }
      guard isSurvey || number <= groupTotal else {
        throw fail("there is no group \(number) to refer to")
      }
      return .backreference(number)
    }
    if eat("k") {
      guard eat("<") else { throw fail("\\k must be followed by a name in < and >") }
      let name = try groupName()
      if isSurvey { return .empty }
      guard let number = groupNames[name] else { throw fail("there is no group of that name") }
      return .backreference(number)
    }
    if let set = try classEscape() { return .set(set) }
    return .set(CodePointSet(try characterEscape()))
  }

  /// `\d`, `\P{…}` and the like.
  private mutating func classEscape() throws(PatternError) -> CodePointSet? {
    if eat("d") { return .digits }
    if eat("D") { return CodePointSet.digits.inverted }
    if eat("s") { return .space }
    if eat("S") { return CodePointSet.space.inverted }
    if eat("w") { return .word }
    if eat("W") { return CodePointSet.word.inverted }
    let isNegated = looking(at: "P")
    guard eat("p") || eat("P") else { return nil }
    guard eat("{") else { throw fail("\\p must be followed by a property in { and }") }
    var name = ""
    var value: String?
    while let next = current, next != Self.code("}"), let scalar = Unicode.Scalar(next) {
      at += 1
      if scalar == "=", value == nil {
        value = ""
      } else if value != nil {
        value?.unicodeScalars.append(scalar)
      } else {
        name.unicodeScalars.append(scalar)
      }
    }
    guard eat("}") else { throw fail("a '{' without its '}'") }
    if isSurvey { return CodePointSet.none }
    let set =
      needsSets
      ? UnicodeProperties.set(name: name, value: value)
      : UnicodeProperties.isKnown(name: name, value: value) ? CodePointSet.none : nil
    guard let set else {
      let property = value.map { "\(name)=\($0)" } ?? name
      throw fail("\"\(property)\" is not a property of characters that is known here")
    }
    return isNegated ? set.inverted : set
  }

  private mutating func characterEscape() throws(PatternError) -> UInt32 {
    guard let next = current, let scalar = Unicode.Scalar(next) else {
      throw fail("a '\\' at the end")
    }
    at += 1
    switch scalar {
    case "t": return 0x09
    case "n": return 0x0A
    case "v": return 0x0B
    case "f": return 0x0C
    case "r": return 0x0D
    case "c":
      guard let letter = current, letter < 0x80,
        (Self.code("a")...Self.code("z")).contains(letter | 0x20)
      else { throw fail("\\c must be followed by a letter") }
      at += 1
      return letter & 31
    case "0":
      if let digit = current, (Self.code("0")...Self.code("9")).contains(digit) {
        throw fail("\\0 can't be followed by a digit")
      }
      return 0
    case "x": return try hex(2)
    case "u": return try unicodeEscape()
    case "^", "$", "\\", ".", "*", "+", "?", "(", ")", "[", "]", "{", "}", "|", "/": return next
    default:
      at -= 1
      throw fail("'\\\(scalar)' is not an escape of ECMA-262")
    }
  }

  private mutating func hex(_ digits: Int) throws(PatternError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<digits {
      guard let next = current, let digit = Self.hexDigit(next) else {
        throw fail("\(digits) hexadecimal digits were expected")
      }
      value = value << 4 | digit
      at += 1
    }
    return value
  }

  private static func hexDigit(_ code: UInt32) -> UInt32? {
    switch code {
    case Self.code("0")...Self.code("9"): code - Self.code("0")
    case Self.code("a")...Self.code("f"): code - Self.code("a") + 10
    case Self.code("A")...Self.code("F"): code - Self.code("A") + 10
    default: nil
    }
  }

  /// After `\u`: four digits, a surrogate pair of them, or any number in braces.
  private mutating func unicodeEscape() throws(PatternError) -> UInt32 {
    if eat("{") {
      var value: UInt32 = 0
      var any = false
      while let next = current, let digit = Self.hexDigit(next) {
        value = value << 4 | digit
        any = true
        at += 1
        guard value <= CodePointSet.maximum else { throw fail("no such character") }
      }
      guard any, eat("}") else { throw fail("\\u{ must be followed by digits and }") }
      return value
    }
    let unit = try hex(4)
    guard (0xD800..<0xDC00).contains(unit), looking(at: "\\u") else { return unit }
    let before = at
    at += 2
    if !looking(at: "{"), let low = try? hex(4), (0xDC00..<0xE000).contains(low) {
      return 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
    }
    at = before
    return unit
  }

  // MARK: Classes

  private mutating func characterClass() throws(PatternError) -> CodePointSet {
    let isNegated = eat("^")
    var ranges: [CodePointSet.Range] = []
    while true {
      guard let next = current else { throw fail("a '[' without its ']'") }
      if next == Self.code("]") {
        at += 1
        let set = CodePointSet(ranges)
        return isNegated ? set.inverted : set
      }
      let first = try classAtom()
      guard looking(at: "-"), at + 1 < text.count, text[at + 1] != Self.code("]") else {
        ranges += first.set.ranges
        continue
      }
      at += 1
      let last = try classAtom()
      guard let low = first.single, let high = last.single else {
        throw fail("a class like \\d can't be the end of a range")
      }
      guard low <= high else { throw fail("a range is the wrong way round") }
      ranges.append(CodePointSet.Range(low: low, high: high))
    }
  }

  /// One part of a class; `single` if it is one character.
  private mutating func classAtom() throws(PatternError) -> (set: CodePointSet, single: UInt32?) {
    guard let next = current else { throw fail("a '[' without its ']'") }
    at += 1
    guard next == Self.code("\\") else { return (CodePointSet(next), next) }
    if eat("b") { return (CodePointSet(0x08), 0x08) }
    if eat("-") { return (CodePointSet(Self.code("-")), Self.code("-")) }
    if let set = try classEscape() { return (set, nil) }
    let code = try characterEscape()
    return (CodePointSet(code), code)
  }
}
