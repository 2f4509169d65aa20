import JSON

/// One thing that is wrong with a value.
public struct SchemaViolation: Sendable, Equatable {
  /// The evaluation path: a JSON pointer through the schema, with references followed.
  public var keywordLocation: String
  /// The keyword's location: its resource's URI and a pointer.
  public var absoluteKeywordLocation: String
  /// JSON pointer to the part of the value.
  public var instanceLocation: String
  /// A sentence for people.
  public var error: String
}

/// What a schema says about a valid value beyond its being valid.
public struct SchemaAnnotation: Sendable, Equatable {
  public var keywordLocation: String
  public var absoluteKeywordLocation: String
  public var instanceLocation: String
  public var annotation: JSONValue
}

/// How a value was judged, in full.
public struct SchemaReport: Sendable {
  /// Empty for a valid value.
  public var violations: [SchemaViolation]
  /// Empty for an invalid value.
  public var annotations: [SchemaAnnotation]

  public init(violations: [SchemaViolation], annotations: [SchemaAnnotation]) {
    self.violations = violations
    self.annotations = annotations
  }

  public var isValid: Bool { violations.isEmpty }

  /// Nothing to say.
  public static let valid = SchemaReport(violations: [], annotations: [])

  /// The standard's output format "basic".
  public var basicOutput: JSONValue {
    if isValid {
      let list = annotations.map { annotation in
        Self.unit(
          annotation.keywordLocation, annotation.absoluteKeywordLocation,
          annotation.instanceLocation, "annotation", annotation.annotation)
      }
      return .object([.init("valid", .bool(true)), .init("annotations", .array(list))])
    }
    let list = violations.map { violation in
      Self.unit(
        violation.keywordLocation, violation.absoluteKeywordLocation, violation.instanceLocation,
        "error", .string(violation.error))
    }
    return .object([.init("valid", .bool(false)), .init("errors", .array(list))])
  }

  private static func unit(
    _ keyword: String, _ absolute: String, _ instance: String, _ name: String, _ value: JSONValue
  ) -> JSONValue {
    var members: [JSONValue.Member] = [.init("keywordLocation", .string(keyword))]
    // Only with a base URI is it one.
    if !absolute.hasPrefix("#") {
      members.append(.init("absoluteKeywordLocation", .string(absolute)))
    }
    members.append(.init("instanceLocation", .string(instance)))
    members.append(.init(name, value))
    return .object(members)
  }
}
