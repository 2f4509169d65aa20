/// A lossless JSON value: members keep their order, numbers their digits.
///
/// Numbers are text so that fields of the server that this program doesn't know are returned unchanged.
/// For cold paths (stream administration, checkpoints, status), not for events.
///
/// Strings are compared by Unicode scalars, as in MongoDB and NATS: `String` treats composed and
/// decomposed characters as equal.
public enum JSONValue: Sendable, Equatable {
  case null
  case bool(Bool)
  /// The digits as written.
  case number(String)
  case string(String)
  case array([JSONValue])
  case object([Member])

  public struct Member: Sendable, Equatable {
    public var key: String
    public var value: JSONValue
    public init(_ key: String, _ value: JSONValue) {
      self.key = key
      self.value = value
    }

    public static func == (one: Self, other: Self) -> Bool {
      one.key.isSame(as: other.key) && one.value == other.value
    }
  }

  public static func == (one: Self, other: Self) -> Bool {
    switch (one, other) {
    case (.null, .null): true
    case (.bool(let a), .bool(let b)): a == b
    case (.number(let a), .number(let b)), (.string(let a), .string(let b)): a.isSame(as: b)
    case (.array(let a), .array(let b)): a == b
    case (.object(let a), .object(let b)): a == b
    default: false
    }
  }

  public static func int(_ value: some BinaryInteger) -> JSONValue { .number(String(value)) }

  /// The member of an object; nil for other values. Setting replaces the member in place or appends it;
  /// setting nil removes it. Setting on another value replaces it with an object.
  public subscript(key: String) -> JSONValue? {
    get {
      guard case .object(let members) = self else { return nil }
      return members.first { $0.key.isSame(as: key) }?.value
    }
    set {
      var members: [Member] = []
      if case .object(let present) = self { members = present }
      if let newValue {
        if let at = members.firstIndex(where: { $0.key.isSame(as: key) }) {
          members[at].value = newValue
        } else {
          members.append(Member(key, newValue))
        }
      } else {
        members.removeAll { $0.key.isSame(as: key) }
      }
      self = .object(members)
    }
  }

  public var stringValue: String? {
    if case .string(let s) = self { return s }
    return nil
  }
  public var boolValue: Bool? {
    if case .bool(let b) = self { return b }
    return nil
  }
  public var arrayValue: [JSONValue]? {
    if case .array(let a) = self { return a }
    return nil
  }
  public var objectValue: [Member]? {
    if case .object(let o) = self { return o }
    return nil
  }
  /// The value of an integer that fits.
  public func integer<T: FixedWidthInteger>(_ type: T.Type = T.self) -> T? {
    guard case .number(let digits) = self else { return nil }
    return T(digits)
  }
  public var doubleValue: Double? {
    guard case .number(let digits) = self else { return nil }
    return Double(digits)
  }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByIntegerLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(integerLiteral value: Int64) { self = .number(String(value)) }
  public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(elements.map { Member($0.0, $0.1) })
  }
}

extension StringProtocol {
  /// Whether both have the same Unicode scalars. Composed and decomposed characters differ, unlike with
  /// `==`.
  public func isSame(as other: some StringProtocol) -> Bool {
    utf8.elementsEqual(other.utf8)
  }
}
