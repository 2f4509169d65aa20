import JSONSchema
import Patterns

/// What is known of formats beyond judging a string.
extension StringFormat {
  /// Whether every string of this format is one of another. (Not every host name is an internationalized one: that has no
  /// hyphens in its third and fourth place, as `r3--sn.example.org` has them.)
  func implies(_ other: StringFormat) -> Bool {
    if self == other { return true }
    switch (self, other) {
    case (.email, .idnEmail), (.uri, .uriReference), (.uri, .iri), (.uri, .iriReference),
      (.uriReference, .iriReference), (.iri, .iriReference):
      return true
    default: return false
    }
  }

  /// A format between patterns: in each of its strings all of the `wide` ones are found, and each string that the `narrow`
  /// one is found in has the format.
  package struct Outline: Sendable {
    package var wide: [Pattern] = []
    package var narrow: Pattern?
    /// In code points.
    package var longest = Int.max

    /// The pattern says all.
    package var isExact: Bool { wide.count == 1 && wide[0] === narrow && longest == .max }
  }

  package var outline: Outline { Self.outlines[Int(rawValue)] }

  private static let outlines = allCases.map { format in
    let words = format.patterns
    let wide = words.wide.compactMap { try? Pattern($0) }
    let narrow =
      words.wide == [words.narrow] ? wide.first : words.narrow.flatMap { try? Pattern($0) }
    return Outline(wide: wide, narrow: narrow, longest: format.longest)
  }

  private var longest: Int {
    switch self {
    case .hostname, .idnHostname: 253
    // 64, the @, and a host.
    case .email: 64 + 1 + 253
    case .idnEmail: 64 + 1 + 255
    default: .max
    }
  }

  private var patterns: (wide: [String], narrow: String?) {
    switch self {
    case .dateTime:
      (["^\(Outlines.date)[Tt]\(Outlines.time)$"], "^\(Outlines.date)[Tt]\(Outlines.usualTime)$")
    case .date: Self.exactly(Outlines.date)
    case .time: (["^\(Outlines.time)$"], "^\(Outlines.usualTime)$")
    case .duration: Self.exactly(Outlines.duration)
    case .email: ([Outlines.mailbox, Outlines.shortLocalPart], Outlines.plainMailbox)
    case .idnEmail: ([Outlines.shortLocalPart], Outlines.plainMailbox)
    case .hostname: (["^\(Outlines.host)$"], "^\(Outlines.usualHost)$")
    case .idnHostname: ([Outlines.internationalHost], "^\(Outlines.plainHost)$")
    case .ipv4: Self.exactly(Outlines.ipv4)
    case .ipv6: Self.exactly(Outlines.ipv6)
    case .uri:
      (["^\(Outlines.uri(.wide, ""))$"], "^\(Outlines.uri(.narrow, ""))$")
    case .iri:
      (
        ["^\(Outlines.uri(.wide, Outlines.allLetters))$"],
        "^\(Outlines.uri(.narrow, Outlines.someLetters))$"
      )
    case .uriReference:
      (["^\(Outlines.reference(.wide, ""))$"], "^\(Outlines.reference(.narrow, ""))$")
    case .iriReference:
      (
        ["^\(Outlines.reference(.wide, Outlines.allLetters))$"],
        "^\(Outlines.reference(.narrow, Outlines.someLetters))$"
      )
    case .uriTemplate:
      (
        ["^\(Outlines.template(Outlines.allLetters))$"],
        "^\(Outlines.template(Outlines.someLetters))$"
      )
    case .uuid:
      Self.exactly(
        "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")
    case .jsonPointer: Self.exactly(Outlines.pointer)
    case .relativeJSONPointer: Self.exactly("(0|[1-9][0-9]*)(#|\(Outlines.pointer))")
    case .regex: ([], "^[0-9A-Za-z/@:,;_ =&%#~<>.-]*$")
    }
  }

  private static func exactly(_ text: String) -> (wide: [String], narrow: String?) {
    (["^(\(text))$"], "^(\(text))$")
  }
}

/// The grammars of formats as regular expressions.
private enum Outlines {
  enum Width { case wide, narrow }

  // MARK: Dates and times (RFC 3339)

  static let date: String = {
    let usual =
      "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
      + "|02-(0[1-9]|1[0-9]|2[0-8]))"
    let multipleOfFour = "(0[48]|[2468][048]|[13579][26])"
    let century = "([02468][048]|[13579][26])"
    return "(\(usual)|([0-9]{2}\(multipleOfFour)|\(century)00)-02-29)"
  }()
  private static let minute = "([01][0-9]|2[0-3]):[0-5][0-9]"
  private static let fraction = "(\\.[0-9]+)?"
  static let usualTime = "\(minute):[0-5][0-9]\(fraction)([Zz]|[+-]\(minute))"
  /// Which minute may have a leap second depends on the offset.
  static let time = "(\(usualTime)|23:59:60\(fraction)[Zz]|\(minute):60\(fraction)[+-]\(minute))"
  static let duration: String = {
    func units(_ first: String, _ second: String, _ third: String) -> String {
      let last = "[0-9]+\(third)"
      return "([0-9]+\(first)([0-9]+\(second)(\(last))?)?|[0-9]+\(second)(\(last))?|\(last))"
    }
    let (days, seconds) = (units("Y", "M", "D"), units("H", "M", "S"))
    return "P([0-9]+W|\(days)(T\(seconds))?|T\(seconds))"
  }()

  // MARK: Hosts and mailboxes

  private static let label = "[0-9A-Za-z]([0-9A-Za-z-]{0,61}[0-9A-Za-z])?"
  static let host = "\(label)(\\.\(label))*"
  /// No label of it is an encoded one, and it isn't too long.
  static let usualHost: String = {
    let label = "([0-9A-WYZa-wyz]([0-9A-Za-z-]{0,58}[0-9A-Za-z])?|[Xx][0-9A-Za-z]{0,59})"
    return "\(label)(\\.\(label)){0,3}"
  }()
  static let plainHost = "[0-9A-Za-z]{1,60}(\\.[0-9A-Za-z]{1,60}){0,3}"
  static let plainMailbox = "^[0-9A-Za-z]{1,64}@\(plainHost)$"
  static let mailbox: String = {
    let atom = "[0-9A-Za-z!#$%&'*+/=?^_`{|}~-]+"
    let quoted = "\"([ !#-\\[\\]-~]|\\\\[ -~])*\""
    return "^(\(atom)(\\.\(atom))*|\(quoted))@(\(host)|\\[[0-9A-Za-z:.]+\\])$"
  }()
  static let shortLocalPart = "^[\\s\\S]{1,64}@[\\s\\S]"
  /// Letters of any language.
  static let internationalHost = "^([0-9A-Za-z.-]|[^\\s\\x00-\\x7F])+$"

  // MARK: Addresses (RFC 4291, and `IPv6address` of RFC 3986)

  static let ipv4: String = {
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    return "\(octet)(\\.\(octet)){3}"
  }()
  static let ipv6: String = {
    let group = "[0-9A-Fa-f]{1,4}"
    let last = "(\(group):\(group)|\(ipv4))"
    func start(_ most: Int) -> String { "((\(group):){0,\(most)}\(group))?" }
    var forms = ["(\(group):){6}\(last)", "::(\(group):){5}\(last)"]
    for count in 0...4 { forms.append("\(start(count))::(\(group):){\(4 - count)}\(last)") }
    forms += ["\(start(5))::\(group)", "\(start(6))::"]
    return forms.joined(separator: "|")
  }()

  // MARK: URIs (RFC 3986 and RFC 3987)

  /// Beyond ASCII: all that some part of an IRI can have, and what every part can have.
  static let allLetters = "\\u{A0}-\\u{10FFFF}"
  static let someLetters = "\\u{A0}-\\u{D7FF}"

  private static let plain = "0-9A-Za-z\\-._~!$&'()*+,;="
  private static let percent = "%[0-9A-Fa-f]{2}"

  private static func character(_ more: String, _ letters: String) -> String {
    "([\(plain)\(more)\(letters)]|\(percent))"
  }

  private static func authority(_ width: Width, _ letters: String) -> String {
    let user = "(\(character(":", letters))*@)?"
    let name = "\(character("", letters))*"
    let host = width == .wide ? "(\\[[\(plain):]+\\]|\(name))" : name
    return "//\(user)\(host)(:[0-9]*)?(/\(character(":@/", letters))*)?"
  }

  private static func rest(_ letters: String) -> String {
    let inner = character(":@/?", letters)
    return "(\\?\(inner)*)?(#\(inner)*)?"
  }

  private static func afterScheme(_ width: Width, _ letters: String) -> String {
    let segment = character(":@", letters)
    let path = "(/|/?\(segment)\(character(":@/", letters))*)?"
    return "(\(authority(width, letters))|\(path))"
  }

  static func uri(_ width: Width, _ letters: String) -> String {
    "[A-Za-z][0-9A-Za-z+.-]*:\(afterScheme(width, letters))\(rest(letters))"
  }

  static func reference(_ width: Width, _ letters: String) -> String {
    let first = character("@", letters)
    let path = character(":@/", letters)
    let relative =
      "(\(authority(width, letters))|(/|/\(character(":@", letters))\(path)*|\(first)+(/\(path)*)?)?)"
    return "(\(uri(width, letters))|\(relative)\(rest(letters)))"
  }

  // MARK: URI templates (RFC 6570)

  static func template(_ letters: String) -> String {
    let literal = "([!#$&'()*+,\\-./0-9:;=?@A-Z\\[\\]_a-z~\(letters)]|\(percent))"
    let name = "([0-9A-Za-z_]|\(percent))+"
    let variable = "\(name)(\\.\(name))*(\\*|:[1-9][0-9]{0,3})?"
    return "(\(literal)|\\{[+#./;?&=,!@|]?\(variable)(,\(variable))*\\})*"
  }

  // MARK: Pointers (RFC 6901)

  static let pointer = "(/([^~/]|~[01])*)*"
}
