import Patterns

/// Labels of internationalized host names: IDNA 2008 (RFC 5891 to 5893).
enum InternationalLabel {
  typealias Characters = UnsafeBufferPointer<UInt32>

  /// Whether a label with characters beyond ASCII is one, its length and direction aside.
  static func isValid(_ label: Characters) -> Bool {
    guard let first = label.first, let last = label.last, first != 0x2D, last != 0x2D,
      !(label.count > 3 && label[2] == 0x2D && label[3] == 0x2D), !isMark(first)
    else { return false }
    for index in label.indices {
      switch status(label[index]) {
      case .valid: continue
      case .disallowed: return false
      case .byContext: guard isFine(label, index) else { return false }
      }
    }
    return isComposed(label)
  }

  // MARK: Characters (RFC 5892)

  private enum Status { case valid, disallowed, byContext }

  private static func status(_ point: UInt32) -> Status {
    if point < 0x80 {
      let isFine = point == 0x2D || point &- 0x30 < 10 || point &- 0x61 < 26
      return isFine ? .valid : .disallowed
    }
    switch point {
    case 0xDF, 0x3C2, 0x6FD, 0x6FE, 0xF0B, 0x3007: return .valid
    case 0xB7, 0x375, 0x5F3, 0x5F4, 0x30FB, 0x660...0x669, 0x6F0...0x6F9: return .byContext
    case 0x640, 0x7FA, 0x302E, 0x302F, 0x3031...0x3035, 0x303B: return .disallowed
    case 0x200C, 0x200D: return .byContext
    // Old Hangul letters, and the blocks that RFC 5892 ignores.
    case 0x1100...0x11FF, 0xA960...0xA97C, 0xD7B0...0xD7FB: return .disallowed
    case 0x20D0...0x20FF, 0x1D100...0x1D1FF, 0x1D200...0x1D24F: return .disallowed
    default: break
    }
    guard let scalar = Unicode.Scalar(point) else { return .disallowed }
    let properties = scalar.properties
    if properties.changesWhenNFKCCaseFolded || properties.isDefaultIgnorableCodePoint
      || properties.isWhitespace || properties.isNoncharacterCodePoint
    {
      return .disallowed
    }
    switch properties.generalCategory {
    case .lowercaseLetter, .uppercaseLetter, .otherLetter, .modifierLetter, .decimalNumber,
      .nonspacingMark, .spacingMark:
      return .valid
    default: return .disallowed
    }
  }

  private static func isMark(_ point: UInt32) -> Bool {
    switch Unicode.Scalar(point)?.properties.generalCategory {
    case .nonspacingMark, .spacingMark, .enclosingMark: true
    default: false
    }
  }

  // MARK: Context (RFC 5892, appendix A)

  private static let greek = UnicodeProperties.script("Greek") ?? .none
  private static let hebrew = UnicodeProperties.script("Hebrew") ?? .none
  private static let japanese = ["Hiragana", "Katakana", "Han"].reduce(CodePointSet.none) {
    $0.union(UnicodeProperties.script($1) ?? CodePointSet.none)
  }

  private static func isFine(_ label: Characters, _ index: Int) -> Bool {
    let before = index > 0 ? label[index - 1] : nil
    let after = index + 1 < label.count ? label[index + 1] : nil
    switch label[index] {
    case 0xB7: return before == 0x6C && after == 0x6C
    case 0x375: return after.map(greek.contains) ?? false
    case 0x5F3, 0x5F4: return before.map(hebrew.contains) ?? false
    case 0x30FB: return label.contains(where: japanese.contains)
    case 0x660...0x669: return !label.contains { (0x6F0...0x6F9).contains($0) }
    case 0x6F0...0x6F9: return !label.contains { (0x660...0x669).contains($0) }
    case 0x200D: return before.map(isVirama) ?? false
    case 0x200C: return before.map(isVirama) == true || joins(label, index)
    default: return false
    }
  }

  private static func isVirama(_ point: UInt32) -> Bool {
    Unicode.Scalar(point)?.properties.canonicalCombiningClass == .virama
  }

  private static let joining: [String: CodePointSet] = {
    var types: [String: CodePointSet] = [:]
    for name in ["L", "R", "D", "T"] {
      types[name] = UnicodeProperties.table(UnicodeTables.joiningTypes, name)
    }
    return types
  }()
  private static let joinsLeft = (joining["L"] ?? .none).union(joining["D"] ?? .none)
  private static let joinsRight = (joining["R"] ?? .none).union(joining["D"] ?? .none)
  private static let transparent = joining["T"] ?? .none

  /// Whether a letter before and one after join here, over those that don't matter.
  private static func joins(_ label: Characters, _ index: Int) -> Bool {
    var before = index - 1
    while before >= 0, transparent.contains(label[before]) { before -= 1 }
    var after = index + 1
    while after < label.count, transparent.contains(label[after]) { after += 1 }
    return before >= 0 && joinsLeft.contains(label[before]) && after < label.count
      && joinsRight.contains(label[after])
  }

  // MARK: Normalization form C

  /// Pairs that compose, sorted.
  private static let compositions: [UInt64] = {
    let numbers = UnicodeProperties.numbers(UnicodeTables.compositions[...])
    var pairs: [UInt64] = []
    var first: UInt32 = 0
    for index in stride(from: 0, to: numbers.count - 1, by: 2) {
      first += numbers[index]
      pairs.append(UInt64(first) << 32 | UInt64(numbers[index + 1]))
    }
    return pairs.sorted()
  }()

  /// Whether marks are in order and none would melt into the letter before it. Characters that are
  /// not in form C by themselves are disallowed anyway.
  private static func isComposed(_ label: Characters) -> Bool {
    var starter: UInt32?
    var lastClass: UInt8 = 0
    for (index, point) in label.enumerated() {
      let ownClass =
        point < 0x300
        ? 0 : Unicode.Scalar(point)?.properties.canonicalCombiningClass.rawValue ?? 0
      if ownClass != 0, lastClass > ownClass { return false }
      // Blocked from the starter by a mark of the same or a higher class, or by a starter.
      let isBlocked = index == 0 || (lastClass != 0 && lastClass >= ownClass)
      if let starter, !isBlocked, composes(starter, point) { return false }
      if ownClass == 0 {
        starter = point
      }
      lastClass = ownClass
    }
    return true
  }

  private static func composes(_ first: UInt32, _ second: UInt32) -> Bool {
    let pair = UInt64(first) << 32 | UInt64(second)
    var low = 0
    var high = compositions.count
    while low < high {
      let middle = (low + high) / 2
      if compositions[middle] < pair { low = middle + 1 } else { high = middle }
    }
    return low < compositions.count && compositions[low] == pair
  }

  // MARK: Directions (RFC 5893)

  private enum Direction: String, CaseIterable {
    case left = "L"
    case right = "R"
    case arabicLetter = "AL"
    case arabicNumber = "AN"
    case europeanNumber = "EN"
    case europeanSeparator = "ES"
    case commonSeparator = "CS"
    case europeanTerminator = "ET"
    case otherNeutral = "ON"
    case boundaryNeutral = "BN"
    case nonspacingMark = "NSM"
    case other
  }

  private static let directions: [(Direction, CodePointSet)] = Direction.allCases.compactMap {
    direction in
    UnicodeProperties.table(UnicodeTables.bidiClasses, direction.rawValue).map { (direction, $0) }
  }

  private static func direction(_ point: UInt32) -> Direction {
    if point < 0x80 {
      if point &- 0x61 < 26 { return .left }
      if point &- 0x30 < 10 { return .europeanNumber }
      return .europeanSeparator
    }
    for (direction, set) in directions where set.contains(point) { return direction }
    return .other
  }

  /// Whether a label has right-to-left characters, and satisfies the rules for names with such.
  static func bidi(_ label: Characters) -> (isRightToLeft: Bool, isSatisfied: Bool) {
    guard let firstPoint = label.first else { return (false, false) }
    let first = direction(firstPoint)
    var isRightToLeft = false
    var hasEuropean = false
    var hasArabic = false
    var last = first
    // By the rules for labels that start with a letter of either kind.
    var fitsRight = first == .right || first == .arabicLetter
    var fitsLeft = first == .left
    for point in label {
      let direction = direction(point)
      switch direction {
      case .right, .arabicLetter:
        isRightToLeft = true
        fitsLeft = false
      case .arabicNumber:
        isRightToLeft = true
        hasArabic = true
        fitsLeft = false
      case .europeanNumber: hasEuropean = true
      case .left: fitsRight = false
      case .europeanSeparator, .commonSeparator, .europeanTerminator, .otherNeutral,
        .boundaryNeutral, .nonspacingMark:
        break
      case .other:
        fitsLeft = false
        fitsRight = false
      }
      if direction != .nonspacingMark { last = direction }
    }
    if hasEuropean && hasArabic { fitsRight = false }
    let endsRight =
      last == .right || last == .arabicLetter || last == .europeanNumber || last == .arabicNumber
    let endsLeft = last == .left || last == .europeanNumber
    return (isRightToLeft, fitsRight && endsRight || fitsLeft && endsLeft)
  }
}
