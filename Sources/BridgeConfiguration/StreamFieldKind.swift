import Foundation
import JSON
import Mapping

/// The values that JetStream accepts in a field of a stream or consumer. If one has another type, the server
/// refuses the whole request, and hardly says which.
indirect enum StreamFieldKind: Sendable {
  case count(ClosedRange<Int64>)
  case flag
  case words([String])
  case text
  /// Nanoseconds: zero, or at least this.
  case duration(least: Int64)
  /// Bytes.
  case size(most: Int64)
  /// In RFC 3339.
  case time
  /// `100%`
  case percentage
  case subject
  case each(StreamFieldKind)
  /// Texts by arbitrary names.
  case texts
  case object([String: StreamFieldKind])

  /// Nil if a problem was reported, or there is no value. Quotes don't matter: flow style needs them around
  /// variables.
  func read(_ node: ConfigNode, _ path: String, _ problems: ProblemList) -> JSONValue? {
    if node.isNull {
      if node.scalar?.isSubstituted != true {
        problems.add(node.position, "\(path) has no value", "write one, or take the key out")
      }
      return nil
    }
    switch self {
    case .each(let kind):
      guard case .sequence(let items, _) = node else {
        return refuse(node, path, "write a list: [\(kind.example)]", problems)
      }
      return .array(
        items.enumerated().compactMap { kind.read($1, "\(path)[\($0)]", problems) })
    case .texts, .object:
      guard case .mapping(let entries, _) = node else {
        return refuse(node, path, "write a mapping: { \(example) }", problems)
      }
      return .object(entries.compactMap { member($0, path, problems) })
    default:
      guard let scalar = node.scalar else {
        return refuse(node, path, "write a single value, such as \(example)", problems)
      }
      return read(scalar, path, problems)
    }
  }

  private func member(
    _ entry: (key: ConfigScalar, value: ConfigNode), _ path: String, _ problems: ProblemList
  ) -> JSONValue.Member? {
    let (key, value) = entry
    let place = "\(path).\(key.text)"
    guard case .object(let fields) = self else {
      return Self.text.read(value, place, problems).map { .init(key.text, $0) }
    }
    if let kind = fields[key.text] {
      return kind.read(value, place, problems).map { .init(key.text, $0) }
    }
    if let near = StreamFields.meant(by: key.text, among: fields.keys.sorted()) {
      problems.add(key.position, "unknown key \(key.text) in \(path)", "did you mean \(near)?")
      return nil
    }
    return .init(key.text, JSONConversion.convert(value))
  }

  private func refuse(
    _ node: ConfigNode, _ path: String, _ remedy: String, _ problems: ProblemList
  ) -> JSONValue? {
    problems.add(node.position, "\(path) can't be \(node.kind)", remedy)
    return nil
  }

  private func read(_ scalar: ConfigScalar, _ path: String, _ problems: ProblemList) -> JSONValue? {
    let text = scalar.text
    func refuse(_ remedy: String) -> JSONValue? {
      problems.add(scalar.position, "\(path) can't be \"\(text)\"", remedy)
      return nil
    }
    switch self {
    case .count(let range):
      if let number = Int64(text), range.contains(number) { return .int(number) }
      return refuse("write \(Self.describe(range))")
    case .flag:
      switch text {
      case "true", "True", "TRUE": return .bool(true)
      case "false", "False", "FALSE": return .bool(false)
      default: return refuse("write true or false")
      }
    case .words(let words):
      if words.contains(text) { return .string(text) }
      let near = nearest(to: text, among: words).map { "did you mean \($0)? It is one of " }
      return refuse((near ?? "use ") + list(words))
    case .text:
      guard text.utf8.count > 4096 else { return .string(text) }
      problems.add(
        scalar.position, "\(path) has \(text.utf8.count) bytes", "servers take 4096 at most")
      return nil
    case .duration(let least):
      guard let number = Int64(text) ?? Units.nanoseconds(text) else {
        problems.add(
          scalar.position, "\(path) is \"\(text)\", not a duration", Units.durationRemedy)
        return nil
      }
      if number == 0 || number >= max(1, least) { return .int(number) }
      let bound =
        least > 1 ? "0 for none, or \(Units.describe(.nanoseconds(least))) at least" : "0 or more"
      return refuse("use \(bound); a number without a unit is nanoseconds")
    case .size(let most):
      guard let number = Int64(text) ?? Units.bytes(text) else {
        problems.add(scalar.position, "\(path) is \"\(text)\", not a size", Units.sizeRemedy)
        return nil
      }
      if (-1...most).contains(number) { return .int(number) }
      return refuse("write \(Self.describe(-1...most)) bytes")
    case .time:
      let isTime =
        (try? Date(text, strategy: Date.ISO8601FormatStyle())) != nil
        || (try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
          != nil
      return isTime ? .string(text) : refuse("write a time such as 2026-01-31T12:00:00Z")
    case .percentage:
      let digits = text.hasSuffix("%") ? text.dropLast() : text[...]
      return Int(digits).map { (0...100).contains($0) } == true
        ? .string(text) : refuse("write a percentage such as 100%")
    case .subject:
      StreamSpec.checkSubject(scalar, problems: problems)
      return .string(text)
    case .each, .texts, .object: return nil
    }
  }

  private static func describe(_ range: ClosedRange<Int64>) -> String {
    let low = range.lowerBound == -1 ? "-1 (unlimited)" : "\(range.lowerBound)"
    return range.upperBound == .max
      ? "a whole number from \(low)" : "a whole number from \(low) to \(range.upperBound)"
  }

  private var example: String {
    switch self {
    case .count(let range): "\(max(1, range.lowerBound))"
    case .flag: "true"
    case .words(let words): words.first ?? ""
    case .text: "text"
    case .duration: "30s"
    case .size: "64KiB"
    case .time: "2026-01-31T12:00:00Z"
    case .percentage: "100%"
    case .subject: "\"chat.>\""
    case .each(let kind): "[\(kind.example)]"
    case .texts: "owner: chat"
    case .object(let fields):
      fields.keys.sorted().prefix(2).map { "\($0): …" }.joined(separator: ", ")
    }
  }
}

/// YAML to JSON, for fields of servers that this version does not know.
enum JSONConversion {
  static func convert(_ node: ConfigNode) -> JSONValue {
    switch node {
    case .sequence(let items, _): .array(items.map(convert))
    case .mapping(let entries, _):
      .object(entries.map { JSONValue.Member($0.key.text, convert($0.value)) })
    case .scalar(let scalar): plainValue(scalar)
    }
  }

  /// YAML 1.2's core schema: quoted values are text.
  private static func plainValue(_ scalar: ConfigScalar) -> JSONValue {
    guard scalar.isPlain else { return .string(scalar.text) }
    switch scalar.text {
    case "true", "True", "TRUE": return .bool(true)
    case "false", "False", "FALSE": return .bool(false)
    case _ where scalar.isNull: return .null
    default:
      if let integer = Int64(scalar.text) { return .int(integer) }
      // Only what is the same in JSON: no hexadecimal numbers, no nan.
      if let parsed = try? JSONValue(parsing: scalar.text), case .number = parsed { return parsed }
      return .string(scalar.text)
    }
  }
}
