import Synchronization

/// Sets of characters by Unicode property: from the standard library where it knows, from
/// `UnicodeTables` else. Worked out once and kept.
package enum UnicodeProperties {
  /// The set for `\p{name}` or `\p{name=value}` as ECMA-262 has it, or nil if that names none.
  static func set(name: String, value: String?) -> CodePointSet? {
    let key = value.map { "\(name)=\($0)" } ?? name
    if let known = cache.withLock({ $0[key] }) { return known }
    guard let set = compute(name: name, value: value) else { return nil }
    cache.withLock { $0[key] = set }
    return set
  }

  /// Whether there is such a set, without working it out.
  static func isKnown(name: String, value: String?) -> Bool {
    guard let value else {
      switch name {
      case "Any", "ASCII", "Assigned", "Regional_Indicator", "RI": return true
      default: return categories(name) != nil || flag(name) != nil
      }
    }
    switch name {
    case "General_Category", "gc": return categories(value) != nil
    case "Script", "sc", "Script_Extensions", "scx": return scriptNames.contains(value)
    default: return false
    }
  }

  private static let scriptNames: Set<String> = {
    var names: Set<String> = ["Qaac", "Qaai"]
    for line in UnicodeTables.scripts.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      names.formUnion(line[..<colon].split(separator: " ").map(String.init))
    }
    return names
  }()

  private static let cache = Mutex<[String: CodePointSet]>([:])

  private static func compute(name: String, value: String?) -> CodePointSet? {
    if let value {
      switch name {
      case "General_Category", "gc": return category(value)
      case "Script", "sc": return script(value)
      case "Script_Extensions", "scx": return scriptExtensions(value)
      default: return nil
      }
    }
    return category(name) ?? binary(name)
  }

  // MARK: General category

  private static func category(_ name: String) -> CodePointSet? {
    guard let categories = categories(name) else { return nil }
    return matching { categories.contains($0.generalCategory) }
  }

  private static func categories(_ name: String) -> [Unicode.GeneralCategory]? {
    let letters: [Unicode.GeneralCategory] = [
      .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter,
    ]
    switch name {
    case "L", "Letter": return letters
    case "LC", "Cased_Letter": return Array(letters.prefix(3))
    case "Lu", "Uppercase_Letter": return [.uppercaseLetter]
    case "Ll", "Lowercase_Letter": return [.lowercaseLetter]
    case "Lt", "Titlecase_Letter": return [.titlecaseLetter]
    case "Lm", "Modifier_Letter": return [.modifierLetter]
    case "Lo", "Other_Letter": return [.otherLetter]
    case "M", "Mark", "Combining_Mark": return [.nonspacingMark, .spacingMark, .enclosingMark]
    case "Mn", "Nonspacing_Mark": return [.nonspacingMark]
    case "Mc", "Spacing_Mark": return [.spacingMark]
    case "Me", "Enclosing_Mark": return [.enclosingMark]
    case "N", "Number": return [.decimalNumber, .letterNumber, .otherNumber]
    case "Nd", "Decimal_Number", "digit": return [.decimalNumber]
    case "Nl", "Letter_Number": return [.letterNumber]
    case "No", "Other_Number": return [.otherNumber]
    case "P", "Punctuation", "punct":
      return [
        .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation,
        .initialPunctuation, .finalPunctuation, .otherPunctuation,
      ]
    case "Pc", "Connector_Punctuation": return [.connectorPunctuation]
    case "Pd", "Dash_Punctuation": return [.dashPunctuation]
    case "Ps", "Open_Punctuation": return [.openPunctuation]
    case "Pe", "Close_Punctuation": return [.closePunctuation]
    case "Pi", "Initial_Punctuation": return [.initialPunctuation]
    case "Pf", "Final_Punctuation": return [.finalPunctuation]
    case "Po", "Other_Punctuation": return [.otherPunctuation]
    case "S", "Symbol": return [.mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol]
    case "Sm", "Math_Symbol": return [.mathSymbol]
    case "Sc", "Currency_Symbol": return [.currencySymbol]
    case "Sk", "Modifier_Symbol": return [.modifierSymbol]
    case "So", "Other_Symbol": return [.otherSymbol]
    case "Z", "Separator": return [.spaceSeparator, .lineSeparator, .paragraphSeparator]
    case "Zs", "Space_Separator": return [.spaceSeparator]
    case "Zl", "Line_Separator": return [.lineSeparator]
    case "Zp", "Paragraph_Separator": return [.paragraphSeparator]
    case "C", "Other": return [.control, .format, .surrogate, .privateUse, .unassigned]
    case "Cc", "Control", "cntrl": return [.control]
    case "Cf", "Format": return [.format]
    case "Cs", "Surrogate": return [.surrogate]
    case "Co", "Private_Use": return [.privateUse]
    case "Cn", "Unassigned": return [.unassigned]
    default: return nil
    }
  }

  // MARK: Binary properties

  private static func binary(_ name: String) -> CodePointSet? {
    switch name {
    case "Any": return .all
    case "ASCII": return CodePointSet((0, 0x7F))
    case "Assigned": return category("Cn")?.inverted
    case "Regional_Indicator", "RI": return CodePointSet((0x1F1E6, 0x1F1FF))
    default: return flag(name).map { flag in matching { $0[keyPath: flag] } }
    }
  }

  private static func flag(_ name: String) -> KeyPath<Unicode.Scalar.Properties, Bool>? {
    switch name {
    case "ASCII_Hex_Digit", "AHex": \.isASCIIHexDigit
    case "Alphabetic", "Alpha": \.isAlphabetic
    case "Bidi_Control", "Bidi_C": \.isBidiControl
    case "Bidi_Mirrored", "Bidi_M": \.isBidiMirrored
    case "Case_Ignorable", "CI": \.isCaseIgnorable
    case "Cased": \.isCased
    case "Changes_When_Casefolded", "CWCF": \.changesWhenCaseFolded
    case "Changes_When_Casemapped", "CWCM": \.changesWhenCaseMapped
    case "Changes_When_Lowercased", "CWL": \.changesWhenLowercased
    case "Changes_When_NFKC_Casefolded", "CWKCF": \.changesWhenNFKCCaseFolded
    case "Changes_When_Titlecased", "CWT": \.changesWhenTitlecased
    case "Changes_When_Uppercased", "CWU": \.changesWhenUppercased
    case "Dash": \.isDash
    case "Default_Ignorable_Code_Point", "DI": \.isDefaultIgnorableCodePoint
    case "Deprecated", "Dep": \.isDeprecated
    case "Diacritic", "Dia": \.isDiacritic
    case "Emoji": \.isEmoji
    case "Emoji_Modifier", "EMod": \.isEmojiModifier
    case "Emoji_Modifier_Base", "EBase": \.isEmojiModifierBase
    case "Emoji_Presentation", "EPres": \.isEmojiPresentation
    case "Extender", "Ext": \.isExtender
    case "Grapheme_Base", "Gr_Base": \.isGraphemeBase
    case "Grapheme_Extend", "Gr_Ext": \.isGraphemeExtend
    case "Hex_Digit", "Hex": \.isHexDigit
    case "IDS_Binary_Operator", "IDSB": \.isIDSBinaryOperator
    case "IDS_Trinary_Operator", "IDST": \.isIDSTrinaryOperator
    case "ID_Continue", "IDC": \.isIDContinue
    case "ID_Start", "IDS": \.isIDStart
    case "Ideographic", "Ideo": \.isIdeographic
    case "Join_Control", "Join_C": \.isJoinControl
    case "Logical_Order_Exception", "LOE": \.isLogicalOrderException
    case "Lowercase", "Lower": \.isLowercase
    case "Math": \.isMath
    case "Noncharacter_Code_Point", "NChar": \.isNoncharacterCodePoint
    case "Pattern_Syntax", "Pat_Syn": \.isPatternSyntax
    case "Pattern_White_Space", "Pat_WS": \.isPatternWhitespace
    case "Quotation_Mark", "QMark": \.isQuotationMark
    case "Radical": \.isRadical
    case "Sentence_Terminal", "STerm": \.isSentenceTerminal
    case "Soft_Dotted", "SD": \.isSoftDotted
    case "Terminal_Punctuation", "Term": \.isTerminalPunctuation
    case "Unified_Ideograph", "UIdeo": \.isUnifiedIdeograph
    case "Uppercase", "Upper": \.isUppercase
    case "Variation_Selector", "VS": \.isVariationSelector
    case "White_Space", "space": \.isWhitespace
    case "XID_Continue", "XIDC": \.isXIDContinue
    case "XID_Start", "XIDS": \.isXIDStart
    default: nil
    }
  }

  private static func matching(
    _ isMember: (Unicode.Scalar.Properties) -> Bool
  ) -> CodePointSet {
    var ranges: [CodePointSet.Range] = []
    func look(_ low: UInt32, _ high: UInt32) {
      var point = low
      while point <= high {
        if let scalar = Unicode.Scalar(point), isMember(scalar.properties) {
          if let last = ranges.last, last.high + 1 == point {
            ranges[ranges.count - 1].high = point
          } else {
            ranges.append(CodePointSet.Range(low: point, high: point))
          }
        }
        point += 1
      }
    }
    // Planes 4 to 13 hold no characters, 15 and 16 only private ones: one stands for all, but for
    // each plane's last two, which are no characters ever.
    func looksAlike(_ plane: UInt32, from: UInt32) {
      let first = ranges.count
      look(from, from)
      if ranges.count > first || ranges.last?.high == from {
        ranges[ranges.count - 1].high = plane << 16 | 0xFFFD
      }
      look(plane << 16 | 0xFFFE, plane << 16 | 0xFFFF)
    }
    look(0, 0x3FFFF)
    for plane in 4...13 as ClosedRange<UInt32> { looksAlike(plane, from: plane << 16) }
    look(0xE0000, 0xE0FFF)
    looksAlike(14, from: 0xE1000)
    for plane in 15...16 as ClosedRange<UInt32> { looksAlike(plane, from: plane << 16) }
    return CodePointSet(ranges)
  }

  // MARK: Scripts

  package static func script(_ name: String) -> CodePointSet? { scriptEntry(name)?.set }

  private static func scriptEntry(_ name: String) -> (short: Substring, set: CodePointSet)? {
    // ECMA-262 has these two further names.
    let name = name == "Qaac" ? "Copt" : name == "Qaai" ? "Zinh" : name
    for line in UnicodeTables.scripts.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let names = line[..<colon].split(separator: " ")
      guard names.contains(where: { $0 == name }), let short = names.first else { continue }
      return (short, unpack(line[line.index(after: colon)...]))
    }
    return nil
  }

  private static func scriptExtensions(_ name: String) -> CodePointSet? {
    guard let (short, set) = scriptEntry(name) else { return nil }
    return table(UnicodeTables.scriptExtensions, String(short)) ?? set
  }

  /// An entry of a table by its label.
  package static func table(_ table: String, _ label: String) -> CodePointSet? {
    for line in table.split(separator: "\n") where line.hasPrefix(label + ":") {
      return unpack(line.dropFirst(label.count + 1))
    }
    return nil
  }

  /// Ranges as alternating distances: from the end of the last one to the start, from there to the
  /// end.
  static func unpack(_ text: Substring) -> CodePointSet {
    var ranges: [CodePointSet.Range] = []
    var low: UInt32?
    var next: UInt32 = 0
    for number in numbers(text) {
      if let start = low {
        ranges.append(CodePointSet.Range(low: start, high: start + number))
        next = start + number + 1
        low = nil
      } else {
        low = next + number
      }
    }
    return CodePointSet(ranges)
  }

  /// Numbers in base 32: of the 64 digits, the upper half says that another digit follows.
  package static func numbers(_ text: Substring) -> [UInt32] {
    var numbers: [UInt32] = []
    var value: UInt32 = 0
    for byte in text.utf8 {
      let digit: UInt32 =
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(byte - UInt8(ascii: "A")) + 10
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(byte - UInt8(ascii: "a")) + 36
        case UInt8(ascii: "-"): 62
        default: 63
        }
      value = value << 5 | digit & 31
      if digit < 32 {
        numbers.append(value)
        value = 0
      }
    }
    return numbers
  }
}
