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

  struct Outline {
    var pattern: Pattern
    /// All strings that it is found in have the format; otherwise only the reverse is so.
    var isExact: Bool
  }

  var outline: Outline? { Self.outlines[self] }

  private static let outlines: [StringFormat: Outline] = {
    let hour = "([01][0-9]|2[0-3]):[0-5][0-9]"
    let octet = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    let date = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
    let time = "[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[+-]\(hour))"
    let texts: [(StringFormat, String, Bool)] = [
      (.dateTime, "^\(date)[Tt]\(time)$", false), (.date, "^\(date)$", false),
      (.time, "^\(time)$", false), (.duration, "^P[0-9A-Z]+$", false),
      (.email, "^.+@.+$", false), (.idnEmail, "^.+@.+$", false),
      (.ipv4, "^\(octet)(\\.\(octet)){3}$", true), (.ipv6, "^[0-9A-Fa-f:.]+$", false),
      (.hostname, "^[0-9A-Za-z.-]+$", false), (.uri, "^[A-Za-z][0-9A-Za-z+.-]*:", false),
      (.iri, "^[A-Za-z][0-9A-Za-z+.-]*:", false),
      (
        .uuid,
        "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$", true
      ),
      (.jsonPointer, "^(/([^~/]|~[01])*)*$", false),
      (.relativeJSONPointer, "^[0-9]", false),
    ]
    var outlines: [StringFormat: Outline] = [:]
    for (format, text, isExact) in texts {
      if let pattern = try? Pattern(text) {
        outlines[format] = Outline(pattern: pattern, isExact: isExact)
      }
    }
    return outlines
  }()

  /// Strings of it, short and long.
  var samples: [String] {
    switch self {
    case .dateTime:
      ["2026-11-23T13:00:00Z", "2026-11-23T13:00:00.123Z", "2026-11-23T13:00:00.123456+01:00"]
    case .date: ["2026-11-23"]
    case .time: ["13:00:00Z", "13:00:00.123+01:00"]
    case .duration: ["P1D", "PT36H", "P1DT12H30M"]
    case .email: ["a@example.org", "a@b.c", "somebody.with.a.long.name@mail.example.org"]
    case .idnEmail: ["a@example.org", "\u{E9}@example.org", "a@b.c"]
    case .hostname:
      ["example.org", "a", "a.long.name.of.some.host.example.org", "r3--sn.example.org"]
    case .idnHostname: ["example.org", "a", "b\u{FC}cher.example"]
    case .ipv4: ["127.0.0.1", "192.168.100.200"]
    case .ipv6: ["::1", "2001:db8::8a2e:370:7334", "2001:0db8:0000:0000:0000:8a2e:0370:7334"]
    case .uri: ["https://example.org/a", "a:b", "urn:x:y"]
    case .uriReference: ["https://example.org/a", "a", "", "/a?b#c"]
    case .iri: ["https://example.org/a", "a:b", "https://example.org/\u{E9}"]
    case .iriReference: ["https://example.org/a", "\u{E9}", "a", ""]
    case .uriTemplate: ["/a/{b}", "a", "", "https://example.org/{a}"]
    case .uuid: ["73ffd264-44b3-4c69-90e8-e7d1dfc035d4", "73FFD264-44B3-4C69-90E8-E7D1DFC035D4"]
    case .jsonPointer: ["/a/b", "", "/a~1b/0"]
    case .relativeJSONPointer: ["0", "1/a", "2#"]
    case .regex: ["^a+$", "a", ""]
    }
  }
}
