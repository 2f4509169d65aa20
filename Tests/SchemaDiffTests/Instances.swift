import JSON
import JSONSchema
import TestRandom

/// Values to attack a verdict with: made along two schemas, from the numbers, texts and names that these have and those
/// right beside them, and then changed bit by bit as long as a schema accepts them, so that its whole border is walked.
struct Instances {
  var random: SeededRandom
  private let documents: [JSONValue]
  private var numbers: [String] = ["0", "1", "-1", "0.5", "1e2"]
  private var texts = [
    "", "a", "b", "ab", "xa", "b1", "12", "\u{E9}", "e\u{301}", "\u{1F600}", "aaa\n", " ", "A",
    "2026-11-23",
    "2026-11-23T13:00:00Z", "2026-02-30", "13:00:00Z", "P1D", "a@b.c", "\u{E9}@b.c", "127.0.0.1",
    "127.0.0.256", "::1",
    "a.b", "-a.b", "urn:a:b", "http://[::1]/", "/a~0", "a/~", "[a",
    "73ffd264-44b3-4c69-90e8-e7d1dfc035d4",
    "73ffd264-44b3-4c69-90e8-e7d1dfc035d", "1/a", "{a}",
  ]
  private var names = ["zz", "", "1", "ab", "xb", "\u{E9}"]
  private var sizes: Set<Int> = [0, 1, 2]
  private var constants: [JSONValue] = [.null, true, false, [], .object([])]

  init(_ random: SeededRandom, _ documents: [JSONValue]) {
    self.random = random
    self.documents = documents
    for document in documents { collect(document, in: nil) }
    names = Self.distinct(names)
    texts = Self.distinct(texts)
    numbers = Self.distinct(numbers)
  }

  /// By their bytes: some texts that Swift takes for equal are different names.
  private static func distinct(_ texts: [String]) -> [String] {
    var seen: Set<[UInt8]> = []
    return texts.filter { seen.insert(Array($0.utf8)).inserted }
  }

  // MARK: Vocabulary

  private mutating func collect(_ value: JSONValue, in keyword: String?) {
    switch value {
    case .object(let members):
      let isNamed = [
        "properties", "dependentRequired", "dependentSchemas", "dependencies", "const", "enum",
      ].contains(keyword)
      for member in members {
        if isNamed { names.append(member.key) }
        switch member.key {
        case "const" where !isNamed: constants.append(member.value)
        case "enum" where !isNamed: constants += member.value.arrayValue ?? []
        default: break
        }
        collect(member.value, in: isNamed ? nil : member.key)
      }
    case .array(let items): for item in items { collect(item, in: keyword) }
    case .string(let text):
      if keyword == "required" || keyword == nil { names.append(text) }
      texts.append(text)
    case .number(let text):
      numbers.append(text)
      if let size = Int(text), (0...6).contains(size) {
        sizes.formUnion([max(0, size - 1), size, size + 1])
      }
    case .null, .bool: break
    }
  }

  // MARK: Along schemas

  /// Schemas that hold for the same value, as far as that is obvious, with one alternative of each choice.
  private mutating func flat(_ schemas: [JSONValue], _ root: JSONValue, _ depth: Int) -> [JSONValue]
  {
    var found: [JSONValue] = []
    for schema in schemas {
      found.append(schema)
      guard depth < 5, case .object(let members) = schema else { continue }
      var inner: [JSONValue] = []
      for member in members {
        switch member.key {
        case "allOf": inner += member.value.arrayValue ?? []
        case "anyOf", "oneOf":
          if let all = member.value.arrayValue, !all.isEmpty { inner.append(random.pick(all)) }
        case "then", "else", "if": if random.chance(1, in: 2) { inner.append(member.value) }
        case "dependentSchemas", "dependencies":
          inner +=
            member.value.objectValue?.map(\.value).filter { _ in random.chance(1, in: 2) } ?? []
        case "$ref":
          if let target = member.value.stringValue.flatMap({ resolve($0, root) }) {
            inner.append(target)
          }
        default: break
        }
      }
      found += flat(inner, root, depth + 1)
    }
    return found
  }

  private func resolve(_ reference: String, _ root: JSONValue) -> JSONValue? {
    guard reference.hasPrefix("#") else { return nil }
    return JSONPointer.tokens(String(reference.dropFirst()))?.reduce(root) { value, token in
      value?[token]
        ?? Int(token).flatMap { index in
          value?.arrayValue.flatMap { $0.indices.contains(index) ? $0[index] : nil }
        }
    }
  }

  mutating func value() -> JSONValue {
    let root = random.pick(documents)
    return value([root], root, 0)
  }

  private mutating func value(
    _ schemas: [JSONValue], _ root: JSONValue, _ depth: Int
  ) -> JSONValue {
    let all = flat(schemas, root, 0)
    if random.chance(1, in: 16) { return any(depth) }
    let fixed = all.compactMap { $0["const"] } + all.flatMap { $0["enum"]?.arrayValue ?? [] }
    if !fixed.isEmpty, random.chance(5, in: 6) { return random.pick(fixed) }
    var types = RandomSchemas.types
    for schema in all {
      guard let type = schema["type"] else { continue }
      let allowed = type.arrayValue?.compactMap(\.stringValue) ?? [type.stringValue ?? ""]
      types = types.filter { allowed.contains($0) || $0 == "integer" && allowed.contains("number") }
    }
    switch types.isEmpty ? random.pick(RandomSchemas.types) : random.pick(types) {
    case "null": return .null
    case "boolean": return .bool(random.chance(1, in: 2))
    case "integer": return number(all, isInteger: true)
    case "number": return number(all, isInteger: false)
    case "string": return text()
    case "array": return array(all, root, depth)
    default: return object(all, root, depth)
    }
  }

  private mutating func any(_ depth: Int) -> JSONValue {
    switch random.below(depth < 3 ? 6 : 3) {
    case 0: random.pick(constants)
    case 1: number([], isInteger: false)
    case 2: text()
    case 3: .array((0..<random.below(4)).map { _ in any(depth + 1) })
    default:
      .object(
        Set((0..<random.below(4)).map { _ in random.pick(names) }).sorted()
          .map { .init($0, any(depth + 1)) })
    }
  }

  private mutating func number(_ schemas: [JSONValue], isInteger: Bool) -> JSONValue {
    let divisors = schemas.compactMap { $0["multipleOf"]?.doubleValue }
    if !divisors.isEmpty, random.chance(2, in: 3) {
      let hundredths = Int((random.pick(divisors) * 100).rounded())
      return .number(Self.decimal(hundredths * (random.below(16) - 4)))
    }
    let near = random.pick(numbers)
    guard random.chance(2, in: 3), let value = Double(near), abs(value) < 1e6 else {
      return .number(near)
    }
    let steps = isInteger ? [100, -100, 200] : [100, -100, 50, -50, 1, -1, 25]
    return .number(Self.decimal(Int((value * 100).rounded()) + random.pick(steps)))
  }

  /// Hundredths as a decimal number, in one notation of several.
  private static func decimal(_ hundredths: Int) -> String {
    let whole = abs(hundredths) / 100
    let rest = abs(hundredths) % 100
    let sign = hundredths < 0 ? "-" : ""
    if rest == 0 { return whole % 3 == 1 ? "\(sign)\(whole).0" : "\(sign)\(whole)" }
    return "\(sign)\(whole).\(rest < 10 ? "0" : "")\(rest)"
  }

  private mutating func text() -> JSONValue {
    if random.chance(1, in: 2) { return .string(random.pick(texts)) }
    var text = ""
    for _ in 0..<random.pick(sizes.sorted() + [5]) {
      text += random.pick(["a", "b", "c", "x", "1", "a", "\u{E9}", "-"])
    }
    return .string(text)
  }

  private mutating func array(
    _ schemas: [JSONValue], _ root: JSONValue, _ depth: Int
  ) -> JSONValue {
    guard depth < 5 else { return [] }
    let count = random.pick(sizes.sorted())
    return .array(
      (0..<count).map { index in
        var inner: [JSONValue] = []
        for schema in schemas {
          let list = schema["prefixItems"]?.arrayValue ?? schema["items"]?.arrayValue ?? []
          if index < list.count {
            inner.append(list[index])
          } else if let rest = schema["additionalItems"] ?? schema["items"], rest.arrayValue == nil
          {
            inner.append(rest)
          }
          if let contained = schema["contains"], random.chance(1, in: 2) { inner.append(contained) }
          if let rest = schema["unevaluatedItems"], random.chance(1, in: 2) { inner.append(rest) }
        }
        return value(inner, root, depth + 1)
      })
  }

  private mutating func object(
    _ schemas: [JSONValue], _ root: JSONValue, _ depth: Int
  ) -> JSONValue {
    guard depth < 5 else { return .object([]) }
    var wanted = schemas.flatMap { $0["required"]?.arrayValue?.compactMap(\.stringValue) ?? [] }
    for _ in 0..<random.pick(sizes.sorted()) { wanted.append(random.pick(names)) }
    for schema in schemas {
      for member in schema["properties"]?.objectValue ?? [] where random.chance(1, in: 2) {
        wanted.append(member.key)
      }
    }
    var object = JSONValue.object([])
    for name in wanted where object[name] == nil && random.chance(15, in: 16) {
      object[name] = member(name, schemas, root, depth)
    }
    return object
  }

  private mutating func member(
    _ name: String, _ schemas: [JSONValue], _ root: JSONValue, _ depth: Int
  ) -> JSONValue {
    var inner: [JSONValue] = []
    for schema in schemas {
      if let declared = schema["properties"]?[name] {
        inner.append(declared)
      } else if let rest = schema["additionalProperties"] ?? schema["unevaluatedProperties"],
        random.chance(2, in: 3)
      {
        inner.append(rest)
      }
      for matched in schema["patternProperties"]?.objectValue ?? [] where random.chance(1, in: 2) {
        inner.append(matched.value)
      }
    }
    return value(inner, root, depth + 1)
  }

  // MARK: Step by step

  /// A value that differs from another one in one place.
  mutating func changed(_ value: JSONValue, depth: Int = 0) -> JSONValue {
    switch value {
    case .array(var items):
      if !items.isEmpty, random.chance(1, in: 2) {
        let index = random.below(items.count)
        items[index] = changed(items[index], depth: depth + 1)
        return .array(items)
      }
      switch items.isEmpty ? 0 : random.below(5) {
      case 0, 1: items.insert(any(depth + 1), at: random.below(items.count + 1))
      case 2: items.remove(at: random.below(items.count))
      case 3: items.append(random.pick(items))
      default: items.swapAt(random.below(items.count), random.below(items.count))
      }
      return .array(items)
    case .object(var members):
      if !members.isEmpty, random.chance(1, in: 2) {
        let index = random.below(members.count)
        members[index].value = changed(members[index].value, depth: depth + 1)
        return .object(members)
      }
      if !members.isEmpty, random.chance(1, in: 2) {
        members.remove(at: random.below(members.count))
        return .object(members)
      }
      var object = value
      object[random.pick(names)] = random.chance(1, in: 2) ? any(depth + 1) : self.value()
      return object
    case .number where random.chance(2, in: 3):
      return number([], isInteger: random.chance(1, in: 2))
    case .string where random.chance(2, in: 3): return text()
    default: return any(depth)
    }
  }
}
