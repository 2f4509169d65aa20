import JSONSchema

/// Strings of formats, to be tried as witnesses. Who uses them asks the validator.
extension StringFormat {
  /// Short and long ones, ordinary ones first.
  package var samples: [String] {
    switch self {
    case .dateTime:
      [
        "2026-11-23T13:00:00Z", "2026-11-23T13:00:00.123Z", "2026-11-23T13:00:00.123456+01:00",
        "1999-12-31t23:59:59z", "0001-01-01T00:00:00-23:59", "9999-12-31T23:59:60Z",
        "2024-02-29T00:00:00+00:00",
      ]
    case .date:
      ["2026-11-23", "1999-12-31", "0001-01-01", "9999-12-31", "2024-02-29", "3000-06-05"]
    case .time: ["13:00:00Z", "13:00:00.123+01:00", "00:00:00z", "23:59:60Z", "23:59:59-23:59"]
    case .duration: ["P1D", "PT36H", "P1DT12H30M", "P2W", "P1Y2M3DT4H5M6S", "P0D"]
    case .email:
      [
        "a@example.org", "a@b.c", "somebody.with.a.long.name@mail.example.org", "a@b",
        "A+b_c@EXAMPLE.org", "\"a b\"@example.org", "a@[127.0.0.1]",
      ]
    case .idnEmail:
      [
        "a@example.org", "\u{E9}@example.org", "a@b.c", "a@b\u{FC}cher.example", "a@b",
        "A@EXAMPLE.org", "\u{E9}@\u{E9}", "a%b@example.org", "\"a b\"@example.org",
        "a@[127.0.0.1]",
      ]
    case .hostname:
      [
        "example.org", "a", "a.long.name.of.some.host.example.org", "r3--sn.example.org",
        "EXAMPLE", "127", "xn--bcher-kva.example",
      ]
    case .idnHostname: ["example.org", "a", "b\u{FC}cher.example", "127"]
    case .ipv4: ["127.0.0.1", "192.168.100.200", "0.0.0.0", "255.255.255.255"]
    case .ipv6:
      [
        "::1", "2001:db8::8a2e:370:7334", "2001:0db8:0000:0000:0000:8a2e:0370:7334", "::",
        "::ffff:192.0.2.1", "2001:0DB8:0000:0000:0000:8A2E:255.255.255.255",
      ]
    case .uri: ["https://example.org/a", "a:b", "urn:x:y", "http://[::1]:80/?a#b", "A:"]
    case .uriReference: ["https://example.org/a", "a", "", "/a?b#c", "//a"]
    case .iri: ["https://example.org/a", "a:b", "https://example.org/\u{E9}", "urn:x:y", "A:"]
    case .iriReference: ["https://example.org/a", "\u{E9}", "a", "", "/a?b#c"]
    case .uriTemplate: ["/a/{b}", "a", "", "https://example.org/{a}", "{?a,b*}", "%41\u{E9}"]
    case .uuid: ["73ffd264-44b3-4c69-90e8-e7d1dfc035d4", "73FFD264-44B3-4C69-90E8-E7D1DFC035D4"]
    case .jsonPointer: ["/a/b", "", "/a~1b/0", "/"]
    case .relativeJSONPointer: ["0", "1/a", "2#"]
    case .regex: ["^a+$", "a", "", "[0-9]{2,}|\\d"]
    }
  }

  /// One with so many characters, where the format has strings of many lengths.
  package func sample(ofLength length: Int) -> String? {
    func filled(_ start: String, _ character: String = "a", _ end: String = "") -> String? {
      let count = length - start.unicodeScalars.count - end.unicodeScalars.count
      return count < 0 ? nil : start + String(repeating: character, count: count) + end
    }
    switch self {
    case .dateTime: return filled("2026-11-23T13:00:00.1", "1", "Z")
    case .time: return filled("13:00:00.1", "1", "Z")
    case .duration: return filled("P1", "1", "D")
    case .email, .idnEmail:
      guard length >= 3 else { return nil }
      // Both parts have a longest length of their own.
      let local = String(repeating: "a", count: min(64, max(1, length / 2)))
      return local + "@" + Self.host(ofLength: length - local.count - 1)
    case .hostname, .idnHostname: return Self.host(ofLength: length)
    case .uri, .iri: return filled("https://example.org/") ?? filled("a:")
    case .uriReference, .iriReference, .uriTemplate, .regex: return filled("")
    case .jsonPointer: return filled("/")
    case .relativeJSONPointer: return filled("0/") ?? filled("0")
    case .date, .ipv4, .ipv6, .uuid: return nil
    }
  }

  private static func host(ofLength length: Int) -> String {
    var text = ""
    while text.count < length {
      let left = length - text.count - (text.isEmpty ? 0 : 1)
      // A label more needs a dot and a character.
      let count = left == 64 ? 62 : min(63, left)
      text += (text.isEmpty ? "" : ".") + String(repeating: "a", count: max(1, count))
    }
    return text
  }
}
