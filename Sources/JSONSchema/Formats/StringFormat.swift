import Patterns

/// The formats that a string can be held to.
package enum StringFormat: UInt8, Sendable, CaseIterable {
  case dateTime, date, time, duration
  case email, idnEmail, hostname, idnHostname
  case ipv4, ipv6
  case uri, uriReference, iri, iriReference, uriTemplate
  case uuid
  case jsonPointer, relativeJSONPointer
  case regex

  /// As `format` has them.
  static let names = [
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname",
    "ipv4",
    "ipv6", "uri", "uri-reference", "iri", "iri-reference", "uri-template", "uuid", "json-pointer",
    "relative-json-pointer", "regex",
  ]

  /// By the name in `format`; nil for those that the draft doesn't define, which then only
  /// annotate.
  package init?(name: String, draft: SchemaDraft) {
    switch name {
    case "date-time": self = .dateTime
    case "date": self = .date
    case "time": self = .time
    case "email": self = .email
    case "idn-email": self = .idnEmail
    case "hostname": self = .hostname
    case "idn-hostname": self = .idnHostname
    case "ipv4": self = .ipv4
    case "ipv6": self = .ipv6
    case "uri": self = .uri
    case "uri-reference": self = .uriReference
    case "iri": self = .iri
    case "iri-reference": self = .iriReference
    case "uri-template": self = .uriTemplate
    case "json-pointer": self = .jsonPointer
    case "relative-json-pointer": self = .relativeJSONPointer
    case "regex": self = .regex
    case "duration" where draft != .draft7: self = .duration
    case "uuid" where draft != .draft7: self = .uuid
    default: return nil
    }
  }

  /// How a sentence names what was expected.
  package var description: String {
    switch self {
    case .dateTime: "a date and time of RFC 3339, like 2026-11-23T13:00:00Z"
    case .date: "a date of RFC 3339, like 2026-11-23"
    case .time: "a time of RFC 3339 with its offset, like 13:00:00Z"
    case .duration: "a duration of ISO 8601 as RFC 3339 has it, like P1DT12H"
    case .email: "an e-mail address"
    case .idnEmail: "an internationalized e-mail address"
    case .hostname: "a host name"
    case .idnHostname: "an internationalized host name"
    case .ipv4: "an IPv4 address"
    case .ipv6: "an IPv6 address"
    case .uri: "a URI with a scheme"
    case .uriReference: "a URI reference"
    case .iri: "an IRI with a scheme"
    case .iriReference: "an IRI reference"
    case .uriTemplate: "a URI template of RFC 6570"
    case .uuid: "a UUID, like 73ffd264-44b3-4c69-90e8-e7d1dfc035d4"
    case .jsonPointer: "a JSON pointer"
    case .relativeJSONPointer: "a relative JSON pointer"
    case .regex: "a regular expression of ECMA-262"
    }
  }

  /// Whether `text`, which must be UTF-8, has this format.
  package func accepts(_ text: UnsafeRawBufferPointer) -> Bool {
    var reader = TextReader(text)
    switch self {
    case .dateTime: return reader.dateTime() && reader.isAtEnd
    case .date: return reader.date() && reader.isAtEnd
    case .time: return reader.time() && reader.isAtEnd
    case .duration: return reader.duration() && reader.isAtEnd
    case .email: return EmailFormat.accepts(text, isInternational: false)
    case .idnEmail: return EmailFormat.accepts(text, isInternational: true)
    case .hostname: return HostnameFormat.accepts(text)
    case .idnHostname: return HostnameFormat.acceptsInternational(text)
    case .ipv4: return reader.ipv4() && reader.isAtEnd
    case .ipv6: return reader.ipv6() && reader.isAtEnd
    case .uri: return URIFormat.accepts(text, isInternational: false, needsScheme: true)
    case .uriReference: return URIFormat.accepts(text, isInternational: false, needsScheme: false)
    case .iri: return URIFormat.accepts(text, isInternational: true, needsScheme: true)
    case .iriReference: return URIFormat.accepts(text, isInternational: true, needsScheme: false)
    case .uriTemplate: return URITemplateFormat.accepts(text)
    case .uuid: return reader.uuid() && reader.isAtEnd
    case .jsonPointer: return reader.jsonPointer() && reader.isAtEnd
    case .relativeJSONPointer: return reader.relativeJSONPointer() && reader.isAtEnd
    case .regex: return Pattern.isValid(text)
    }
  }
}
