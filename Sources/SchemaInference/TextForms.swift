import JSONSchema

/// What strings may look like: formats, and forms that programs give to identifiers.
struct TextForms: OptionSet, Sendable {
  let rawValue: UInt16

  static let objectID = TextForms(rawValue: 1 << 0)
  static let uuid = TextForms(rawValue: 1 << 1)
  static let dateTime = TextForms(rawValue: 1 << 2)
  static let date = TextForms(rawValue: 1 << 3)
  static let email = TextForms(rawValue: 1 << 4)
  static let uri = TextForms(rawValue: 1 << 5)
  static let ipv4 = TextForms(rawValue: 1 << 6)
  /// Nothing but digits.
  static let digits = TextForms(rawValue: 1 << 7)

  static let all = TextForms(rawValue: 0xFF)
  /// Those that their length or first characters distinguish.
  private static let formats: [(TextForms, StringFormat)] = [
    (.uuid, .uuid), (.dateTime, .dateTime), (.date, .date), (.email, .email), (.uri, .uri),
    (.ipv4, .ipv4),
  ]

  static let objectIDPattern = "^[0-9a-f]{24}$"

  /// Those of these forms that a text, which must be UTF-8, has.
  func kept(by text: UnsafeRawBufferPointer) -> TextForms {
    var kept: TextForms = []
    if contains(.objectID), text.count == 24, text.allSatisfy(Self.isHex) { kept.insert(.objectID) }
    if contains(.digits), !text.isEmpty, text.count <= 20, text.allSatisfy(Self.isDigit) {
      kept.insert(.digits)
    }
    for (form, format) in Self.formats where contains(form) {
      if format.accepts(text), CommonFormat.accepts(text, format) { kept.insert(form) }
    }
    return kept
  }

  private static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }
  private static func isHex(_ byte: UInt8) -> Bool { isDigit(byte) || byte &- 0x61 < 6 }

  /// As `format` has the first of them.
  var format: String? {
    if contains(.uuid) { return "uuid" }
    if contains(.dateTime) { return "date-time" }
    if contains(.date) { return "date" }
    if contains(.email) { return "email" }
    if contains(.ipv4) { return "ipv4" }
    if contains(.uri) { return "uri" }
    return nil
  }

  /// Forms that names of members have in maps, hardly in records.
  static let ofKeys: TextForms = [.objectID, .uuid, .date, .dateTime, .digits, .email, .ipv4, .uri]
}
