import BSON
import JSON
import Mapping

/// Reads `match.where`: MongoDB's query language over the paths of the change event.
struct WhereReading {
  let problems: ProblemList

  static let comparisons = [
    "$eq", "$ne", "$in", "$nin", "$exists", "$type", "$gt", "$gte", "$lt", "$lte", "$regex", "$not",
  ]
  private static let combinations = ["$and", "$or", "$nor"]

  /// Nil if a problem was reported, or there is no condition.
  func read(_ node: ConfigNode) -> Condition? {
    guard case .mapping(let entries, _) = node else {
      problems.add(
        node.position, "where is \(node.kind), not a mapping",
        "write where: { fullDocument.t: { $exists: false } }")
      return nil
    }
    if entries.isEmpty { return nil }
    var parts: [Condition] = []
    for (key, value) in entries {
      if let part = key.text.hasPrefix("$") ? combination(key, value) : field(key, value) {
        parts.append(part)
      }
    }
    return parts.count == 1 ? parts[0] : .all(parts)
  }

  private func combination(_ key: ConfigScalar, _ value: ConfigNode) -> Condition? {
    guard Self.combinations.contains(key.text) else {
      let near = nearest(to: key.text, among: Self.combinations)
      problems.add(
        key.position, "\(key.text) is not allowed here",
        near.map { "did you mean \($0)?" }
          ?? "write a path, or one of \(list(Self.combinations))")
      return nil
    }
    guard case .sequence(let items, let at) = value, !items.isEmpty else {
      problems.add(
        value.position, "\(key.text) takes a list of conditions",
        "write \(key.text): [ { … }, { … } ]")
      return nil
    }
    let parts = items.compactMap(read)
    guard parts.count == items.count else { return nil }
    _ = at
    switch key.text {
    case "$and": return .all(parts)
    case "$or": return .any(parts)
    default: return .not(.any(parts))
    }
  }

  private func field(_ key: ConfigScalar, _ value: ConfigNode) -> Condition? {
    let path: EventPath
    do throws(RuleSyntaxError) {
      path = try EventPath(parsing: key.text)
    } catch {
      if Self.combinations.contains("$\(key.text)") {
        problems.add(key.position, "\(key.text) is no path", "did you mean $\(key.text)?")
        return nil
      }
      problems.add(error, in: key)
      return nil
    }
    return tests(path, value)
  }

  /// `{ $gt: 1, $lt: 5 }`, or a value to be equal to.
  private func tests(_ path: EventPath, _ node: ConfigNode) -> Condition? {
    if case .mapping(let entries, let at) = node, let first = entries.first,
      first.key.text.hasPrefix("$"), !isWrapper(entries)
    {
      var parts: [Condition] = []
      for (key, value) in entries {
        guard key.text.hasPrefix("$") else {
          problems.add(
            key.position, "\(key.text) among operators", "begin it with $, or take it out")
          return nil
        }
        if key.text == "$options" { continue }
        guard let part = test(path, key, value, beside: entries) else { return nil }
        parts.append(part)
      }
      guard !parts.isEmpty else {
        problems.add(at, "no operator", "use \(list(Self.comparisons))")
        return nil
      }
      return parts.count == 1 ? parts[0] : .all(parts)
    }
    warnOfOperators(node)
    return self.value(node).map { .test(path, .equals([$0])) }
  }

  /// `{ exists: false }` matches a document with the field `exists`, which is rarely intended. An intended
  /// document has other fields, too, or values that the operator does not accept.
  private func warnOfOperators(_ node: ConfigNode) {
    guard case .mapping(let entries, _) = node else { return }
    let meant = entries.map { MisspeltOperator(key: $0.key.text, value: $0.value) }
    guard !meant.isEmpty, meant.allSatisfy({ $0 != nil }) else { return }
    for case (let entry, let meant?) in zip(entries, meant) {
      problems.warn(
        .whereOperator, entry.key.position,
        "\(entry.key.text) is compared with a field of that name: an operator begins with $",
        meant.remedy)
    }
  }

  private func test(
    _ path: EventPath, _ key: ConfigScalar, _ node: ConfigNode,
    beside entries: [(key: ConfigScalar, value: ConfigNode)]
  ) -> Condition? {
    func test(_ make: (ConditionValue) -> ConditionTest) -> Condition? {
      value(node).map { .test(path, make($0)) }
    }
    switch key.text {
    case "$eq": return test { .equals([$0]) }
    case "$ne": return test { .equals([$0]) }.map { .not($0) }
    case "$gt": return test { .greater($0) }
    case "$gte": return test { .greaterOrEqual($0) }
    case "$lt": return test { .less($0) }
    case "$lte": return test { .lessOrEqual($0) }
    case "$in": return values(key, node).map { .test(path, .equals($0)) }
    case "$nin": return values(key, node).map { .not(.test(path, .equals($0))) }
    case "$exists":
      switch node.scalar?.text.lowercased() {
      case "true"?, "1"?: return .test(path, .exists)
      case "false"?, "0"?: return .not(.test(path, .exists))
      default:
        problems.add(node.position, "$exists takes true or false", "write $exists: true")
        return nil
      }
    case "$type": return types(node).map { .test(path, .type($0)) }
    case "$regex": return pattern(path, node, entries)
    case "$not":
      guard case .mapping = node else {
        problems.add(
          node.position, "$not takes operators", "write $not: { $gt: 5 }, or $ne for a value")
        return nil
      }
      return tests(path, node).map { .not($0) }
    default:
      if let instead = MisspeltOperator.unavailable[String(key.text.dropFirst())] {
        problems.add(key.position, "\(key.text) is not available", instead)
        return nil
      }
      let near = nearest(to: key.text, among: Self.comparisons + Self.wrappers.sorted())
      problems.add(
        key.position, "\(key.text) is no operator here",
        near.map { "did you mean \($0)?" } ?? "use \(list(Self.comparisons))")
      return nil
    }
  }

  private func pattern(
    _ path: EventPath, _ node: ConfigNode, _ entries: [(key: ConfigScalar, value: ConfigNode)]
  ) -> Condition? {
    guard let scalar = node.scalar else {
      problems.add(node.position, "$regex takes a pattern", "write $regex: \"^bot-\"")
      return nil
    }
    if let options = entries.first(where: { $0.key.text == "$options" }),
      let text = options.value.scalar?.text, !text.isEmpty
    {
      problems.add(
        options.value.position, "$options \(text) is not available",
        "write what it means into the pattern: [Bb]ot for i")
      return nil
    }
    do throws(RuleSyntaxError) {
      return .test(path, .matches(try ConditionPattern(scalar.text)))
    } catch {
      problems.add(error, in: scalar)
      return nil
    }
  }

  // MARK: Types

  static let typeNames: [(name: String, types: [BSONType])] = [
    ("double", [.double]), ("string", [.string]), ("object", [.document]), ("array", [.array]),
    ("binData", [.binary]), ("undefined", [.undefined]), ("objectId", [.objectID]),
    ("bool", [.bool]), ("date", [.date]), ("null", [.null]), ("regex", [.regex]),
    ("dbPointer", [.dbPointer]), ("javascript", [.javascript]), ("symbol", [.symbol]),
    ("javascriptWithScope", [.javascriptWithScope]), ("int", [.int32]),
    ("timestamp", [.timestamp]), ("long", [.int64]), ("decimal", [.decimal128]),
    ("minKey", [.minKey]), ("maxKey", [.maxKey]),
    ("number", [.double, .int32, .int64, .decimal128]),
  ]

  private func types(_ node: ConfigNode) -> [BSONType]? {
    var items = [node]
    if case .sequence(let list, _) = node { items = list }
    var found: [BSONType] = []
    for item in items {
      var text = item.scalar?.text ?? ""
      if case .mapping(let entries, _) = item, entries.count == 1,
        entries[0].key.text == "$numberInt"
      {
        text = entries[0].value.scalar?.text ?? ""
      }
      if let known = Self.typeNames.first(where: { $0.name == text }) {
        found += known.types
      } else if let number = Int(text),
        let type = number == -1 ? .minKey : UInt8(exactly: number).flatMap(BSONType.init(rawValue:))
      {
        found.append(type)
      } else {
        let names = Self.typeNames.map(\.name)
        let near = nearest(to: text, among: names)
        problems.add(
          item.position, "\(text.isEmpty ? "this" : text) is no type of BSON",
          near.map { "did you mean \($0)?" } ?? "use \(list(names)), or its number")
        return nil
      }
    }
    return found.isEmpty ? nil : found
  }

  // MARK: Values

  private func values(_ key: ConfigScalar, _ node: ConfigNode) -> [ConditionValue]? {
    guard case .sequence(let items, _) = node else {
      problems.add(node.position, "\(key.text) takes a list", "write \(key.text): [a, b]")
      return nil
    }
    let found = items.compactMap(value)
    return found.count == items.count ? found : nil
  }

  private static let wrappers: Set<String> = [
    "$oid", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal", "$date", "$timestamp",
    "$binary", "$uuid", "$symbol", "$code", "$minKey", "$maxKey", "$undefined",
  ]

  private func isWrapper(_ entries: [(key: ConfigScalar, value: ConfigNode)]) -> Bool {
    entries.count == 1 && Self.wrappers.contains(entries[0].key.text)
  }

  /// `{ $odi: … }` within a value: no Extended JSON, so a document with a field of that name.
  private func warnOfWrappers(_ node: ConfigNode) {
    switch node {
    case .scalar: break
    case .sequence(let items, _): items.forEach(warnOfWrappers)
    case .mapping(let entries, _):
      for (key, value) in entries {
        if key.text.hasPrefix("$"), !Self.wrappers.contains(key.text),
          !Self.parts.contains(key.text)
        {
          let near = nearest(to: key.text, among: Self.wrappers.sorted())
          problems.warn(
            .whereOperator, key.position,
            "\(key.text) is compared with a field of that name: it is no type of Extended JSON",
            near.map { "did you mean \($0)?" } ?? "take it out, if no document has such a field")
        }
        warnOfWrappers(value)
      }
    }
  }
  /// Other keys in values of Extended JSON.
  private static let parts: Set<String> = [
    "$ref", "$id", "$db", "$scope", "$regularExpression", "$dbPointer", "$regex", "$options",
    "$type",
  ]

  private func value(_ node: ConfigNode) -> ConditionValue? {
    if let scalar = node.scalar, scalar.text.isEmpty, scalar.isPlain, !scalar.isSubstituted {
      problems.add(
        node.position, "there is no value to compare with", "write null, or \"\" for an empty text")
      return nil
    }
    warnOfWrappers(node)
    let text = JSONValue.object([.init("v", json(node))]).text()
    do {
      let bytes = try ExtendedJSON.bson(text)
      return try bytes.withUnsafeBytes { raw in
        guard let element = try BSONView(raw).first("v") else { return nil }
        return ConditionValue(type: element.type, bytes: Array(element.value))
      }
    } catch {
      let what = (error as? ExtendedJSON.Malformed)?.message ?? "\(error)"
      problems.add(node.position, "no value: \(what)", "write it as Extended JSON has it")
      return nil
    }
  }

  /// YAML's plain words are numbers and the like, quoted ones are text.
  private func json(_ node: ConfigNode) -> JSONValue {
    switch node {
    case .sequence(let items, _): return .array(items.map(json))
    case .mapping(let entries, _):
      return .object(entries.map { .init($0.key.text, json($0.value)) })
    case .scalar(let scalar):
      guard scalar.isPlain else { return .string(scalar.text) }
      switch scalar.text {
      case ".nan", ".NaN", ".NAN": return ["$numberDouble": "NaN"]
      case ".inf", ".Inf", ".INF", "+.inf": return ["$numberDouble": "Infinity"]
      case "-.inf", "-.Inf", "-.INF": return ["$numberDouble": "-Infinity"]
      default: return scalar.json
      }
    }
  }
}
