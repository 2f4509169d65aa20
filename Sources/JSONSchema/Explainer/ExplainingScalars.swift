import JSON
import Patterns

extension Explainer {
  mutating func judgeScalar(
    _ keyword: Keyword, _ context: Context, _ outcome: inout Outcome
  ) throws(SchemaFault) {
    let value = context.value
    switch keyword {
    case .type(let types):
      let own = Lowering.types(of: value)
      guard types.isDisjoint(with: own) else { return }
      outcome.violations.append(
        violation(
          context,
          "\(Self.excerpt(value)) is \(Self.article(own)), and \(types.description) is asked for"))
    case .const(let constant):
      guard !JSONEquality.areEqual(value, constant) else { return }
      outcome.violations.append(
        violation(context, "\(Self.excerpt(value)) is not \(Self.excerpt(constant))"))
    case .enumeration(let values):
      guard !values.contains(where: { JSONEquality.areEqual(value, $0) }) else { return }
      outcome.violations.append(
        violation(context, "\(Self.excerpt(value)) is \(Self.noneOf(values))"))
    case .multipleOf, .bound: judgeNumber(keyword, context, &outcome)
    default: try judgeString(keyword, context, &outcome)
    }
  }

  static func noneOf(_ values: [JSONValue]) -> String {
    let list = values.prefix(20).map(excerpt).joined(separator: ", ")
    return "none of \(list)\(values.count > 20 ? ", …" : "")"
  }

  static func article(_ types: JSONTypes) -> String {
    switch types {
    case .integer: "an integer"
    case .fraction: "a number"
    case .array, .object: "an \(types.description)"
    case .null: "null"
    default: "a \(types.description)"
    }
  }

  private func judgeNumber(
    _ keyword: Keyword, _ context: Context, _ outcome: inout Outcome
  ) {
    guard case .number(let text) = context.value, let complaint = Self.complaint(keyword, text)
    else { return }
    outcome.violations.append(violation(context, complaint))
  }

  /// The violation of a numeric keyword.
  static func complaint(_ keyword: Keyword, _ text: String) -> String? {
    guard let number = ExactDecimal(text) else { return nil }
    switch keyword {
    case .multipleOf(let decimal, let divisor):
      return number.isMultiple(of: divisor)
        ? nil : "\(text) is not a multiple of \(decimal.description)"
    case .bound(let bound, let decimal):
      let order = number.compared(to: decimal)
      let limit = decimal.description
      let complaint: String?
      switch bound {
      case .minimum: complaint = order < 0 ? "is less than \(limit)" : nil
      case .maximum: complaint = order > 0 ? "is more than \(limit)" : nil
      case .exclusiveMinimum: complaint = order <= 0 ? "is not more than \(limit)" : nil
      case .exclusiveMaximum: complaint = order >= 0 ? "is not less than \(limit)" : nil
      }
      return complaint.map { "\(text) \($0)" }
    default: return nil
    }
  }

  private mutating func judgeString(
    _ keyword: Keyword, _ context: Context, _ outcome: inout Outcome
  ) throws(SchemaFault) {
    // These annotate values of any type.
    switch keyword {
    case .format(_, let name, _):
      outcome.annotations.append(annotation(context, .string(name)))
    case .content(_, let announced): outcome.annotations.append(annotation(context, announced))
    default: break
    }
    guard case .string(var text) = context.value else { return }
    let excerpt = Self.excerpt(context.value)
    switch keyword {
    case .minLength(let least):
      let length = text.unicodeScalars.count
      guard length < least else { return }
      outcome.violations.append(
        violation(context, "\(excerpt) has \(length) characters, fewer than \(least)"))
    case .maxLength(let most):
      let length = text.unicodeScalars.count
      guard length > most else { return }
      outcome.violations.append(
        violation(context, "\(excerpt) has \(length) characters, more than \(most)"))
    case .pattern(let pattern):
      guard try !search(pattern, text) else { return }
      outcome.violations.append(
        violation(context, "\(excerpt) doesn't match the pattern \(pattern.text)"))
    case .format(let format?, _, true):
      guard !text.withUTF8({ format.accepts(UnsafeRawBufferPointer($0)) }) else { return }
      outcome.violations.append(violation(context, "\(excerpt) is not \(format.description)"))
    case .content(let check, let announced):
      guard !text.withUTF8({ check.accepts(UnsafeRawBufferPointer($0)) }) else { return }
      outcome.violations.append(violation(context, "\(excerpt) is not \(announced.text())"))
    default: break
    }
  }
}

extension ExactDecimal {
  /// Written without an exponent if that is short.
  package var description: String {
    let text = digits.map(String.init).joined()
    let sign = isNegative ? "-" : ""
    if isZero { return "0" }
    if (0...20).contains(exponent) { return sign + text + String(repeating: "0", count: exponent) }
    let whole = digits.count + exponent
    if exponent < 0, whole > 0 { return sign + text.prefix(whole) + "." + text.dropFirst(whole) }
    if exponent < 0, whole > -6 {
      return sign + "0." + String(repeating: "0", count: -whole) + text
    }
    return "\(sign)\(text)e\(exponent)"
  }
}

/// Equality as defined by JSON Schema.
package enum JSONEquality {
  package static func areEqual(_ a: JSONValue, _ b: JSONValue) -> Bool {
    switch (a, b) {
    case (.null, .null): return true
    case (.bool(let a), .bool(let b)): return a == b
    case (.number(let a), .number(let b)):
      guard let a = ExactDecimal(a), let b = ExactDecimal(b) else { return false }
      return a.compared(to: b) == 0
    // By code points: Swift's strings are equal if they are canonically equivalent.
    case (.string(let a), .string(let b)): return a.utf8.elementsEqual(b.utf8)
    case (.array(let a), .array(let b)):
      return a.count == b.count && zip(a, b).allSatisfy { areEqual($0, $1) }
    case (.object(let a), .object(let b)):
      return a.count == b.count
        && a.allSatisfy { member in
          b.first { $0.key.utf8.elementsEqual(member.key.utf8) }
            .map { areEqual($0.value, member.value) } ?? false
        }
    default: return false
    }
  }
}
