import BSON

/// Why an event could not become a message: the value of the header `Tailrace-Error`.
public enum MappingErrorCode: String, Sendable, CaseIterable {
  /// A path of the subject, the id or the envelope has no value in this event.
  case pathMissing = "path_missing"
  /// The subject would have an empty or overlong token, or be too long itself.
  case subjectInvalid = "subject_invalid"
  /// The message id would be empty or too long.
  case idInvalid = "id_invalid"
  /// A value that the place can't hold: a document in a subject, text that is not UTF-8.
  case valueUnsupported = "value_unsupported"
  /// Two fields would have the same name in the body, since `rename` gives one the name of another.
  case nameTaken = "name_taken"
  /// Headers and body exceed the limit of server or stream, or an update's description that of the bridge.
  case payloadTooLarge = "payload_too_large"
  /// The headers exceed what JetStream stores.
  case headersTooLarge = "headers_too_large"
  /// The server repeatedly refuses this message, by a limit of its own.
  case refused
  /// The body does not satisfy the rule's schema.
  case schemaInvalid = "schema_invalid"
  /// The stream has this id for another event.
  case idConflict = "id_conflict"
  /// Judging the event, by the rule's schema or its condition, takes more steps than an event may.
  case tooComplex = "too_complex"
  /// A rule requires an update's full document (or the one before the change), and it can't be had.
  case imageMissing = "image_missing"
  /// The event's bytes are not BSON. Not a matter for dead letters: the bridge halts.
  case corrupt
  /// No rule takes the event, and `unmatched` says `dead_letter`.
  case unmatched
}

/// An event that could not become a message. Made on the cold path only.
public struct MappingError: Error, Equatable, Sendable, CustomStringConvertible {
  public var code: MappingErrorCode
  /// What happened and where, for people; may quote data of the event.
  public var detail: String
  /// The same without values of the event's documents, for where anybody may read it. Names of fields stay.
  public var outline: String
  /// Of `schemaInvalid`: the first keyword that the body violates, as a JSON pointer through the schema with references
  /// followed. Nothing of the document is in it.
  public var keyword: String?

  /// - Parameter outline: where `detail` quotes values.
  public init(
    _ code: MappingErrorCode, _ detail: String, outline: String? = nil, keyword: String? = nil
  ) {
    self.code = code
    self.detail = detail
    self.outline = outline ?? detail
    self.keyword = keyword
  }

  /// Invalid UTF-8 or too deep nesting is a fault of one document; any other invalid bytes are a fault of the
  /// source.
  init(_ error: BSONError, in place: String) {
    switch error.reason {
    case .invalidUTF8, .tooDeep: code = .valueUnsupported
    default: code = .corrupt
    }
    self.detail = "\(place): \(error)"
    self.outline = detail
  }

  public var description: String { "\(code.rawValue): \(detail)" }
}
