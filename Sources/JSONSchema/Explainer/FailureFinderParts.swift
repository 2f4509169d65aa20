import BSON
import JSON
import Patterns

extension FailureFinder {
  // MARK: Scalars

  /// A value as quoted in a sentence.
  func excerpt(_ part: Part) -> String {
    switch part.kind {
    case .array:
      let count = count(part.value)
      return count == 0 ? "[]" : "an array of \(count)"
    case .object:
      let count = count(part.value)
      return count == 0 ? "{}" : "an object with \(count) members"
    case .string:
      guard let text = runner.text(part.type, part.value) else { return "a string" }
      return Explainer.excerpt(.string(String(decoding: text.prefix(500), as: UTF8.self)))
    default: return Explainer.excerpt(scalar(part))
    }
  }

  private func count(_ value: Bytes, upTo most: Int = .max) -> Int {
    var count = 0
    if most == 0 { return 0 }
    _ = runner.forEach(value) { _ in
      count += 1
      return count < most
    }
    return count
  }

  private func exceeds(_ part: Part, _ most: Int) -> Bool {
    // An element takes two bytes at least.
    guard most < .max, runner.isMembers(part.value) || part.value.count / 2 > most else {
      return false
    }
    return count(part.value, upTo: most + 1) > most
  }

  /// A number, a boolean or null as JSON has it.
  private func scalar(_ part: Part) -> JSONValue {
    let element = BSONElement(
      type: part.type, key: Bytes(start: nil, count: 0), value: part.value)
    let style: JSONStyle = runner.isPlain ? .simplified : state.pointee.style
    return (try? InstanceValue.value(element, style)) ?? .null
  }

  mutating func searchNumber(_ keyword: Keyword, _ part: Part) {
    guard part.kind == .integer || part.kind == .fraction, runner.charge(64),
      case .number(let text) = scalar(part), let complaint = Explainer.complaint(keyword, text)
    else { return }
    add(part.schema, part.name, complaint)
  }

  mutating func searchString(_ keyword: Keyword, _ part: Part) {
    guard part.kind == .string, let text = runner.text(part.type, part.value) else { return }
    let cost: Int
    switch keyword {
    case .pattern(let pattern): cost = pattern.table == nil ? 0 : SchemaBudget.patternCost
    case .format(let format?, _, true): cost = SchemaBudget.cost(of: format)
    case .minLength, .maxLength: cost = SchemaBudget.textCost
    case .content: cost = SchemaBudget.contentCost
    default: return
    }
    guard runner.charge((text.count &* cost) &>> 6) else { return }
    let sentence: String
    switch keyword {
    case .minLength(let least):
      let length = UTF8Decoding.length(text)
      guard length >= 0, length < least else { return }
      sentence = "has \(length) characters, fewer than \(least)"
    case .maxLength(let most):
      let length = UTF8Decoding.length(text)
      guard length > most else { return }
      sentence = "has \(length) characters, more than \(most)"
    case .pattern(let pattern):
      guard !runner.searchSlowly(pattern, text) else { return }
      sentence = "doesn't match the pattern \(pattern.text)"
    case .format(let format?, _, true):
      guard !format.accepts(text) else { return }
      sentence = "is not \(format.description)"
    case .content(let check, let announced):
      guard !check.accepts(text) else { return }
      sentence = "is not \(announced.text())"
    default: return
    }
    add(part.schema, part.name, "\(excerpt(part)) \(sentence)")
  }

  // MARK: Arrays

  mutating func searchArray(_ keyword: Keyword, _ part: Part) {
    switch keyword {
    case .minItems(let least):
      let count = count(part.value, upTo: least)
      if count < least {
        add(part.schema, part.name, "there are \(count) items, fewer than \(least)")
      }
    case .maxItems(let most):
      guard exceeds(part, most) else { return }
      add(
        part.schema, part.name, "there are \(count(part.value)) items, more than \(most)")
    case .uniqueItems:
      guard !runner.isUnique(part.value, count(part.value)) else { return }
      let (first, second) = state.pointee.equalItems
      add(
        part.schema, part.name,
        "items \(first) and \(second) are the same, and each must be unique")
    case .prefixItems(let schemas):
      searchItems(part) { index in
        index < schemas.count ? (schemas[index], "/\(part.name)/\(index)") : nil
      }
    case .items(let schema, let from):
      let place = "/\(part.name)"
      searchItems(part) { $0 >= from ? (schema, place) : nil }
    case .contains(let schema, let least, let most, _):
      searchContained(schema, least: least, most: most, part)
    default: break
    }
  }

  private mutating func searchItems(
    _ part: Part, _ schema: (Int) -> (id: SchemaID, place: String)?
  ) {
    var index = 0
    _ = runner.forEach(part.value) { item in
      if let (id, place) = schema(index), !isValid(id, item.type, item.value) {
        descend(id, item.type, item.value, under: place, at: "\(index)")
      }
      index += 1
      return isOpen
    }
  }

  private mutating func searchContained(
    _ schema: SchemaID, least: Int, most: Int?, _ part: Part
  ) {
    var matched = 0
    let isWhole = runner.forEach(part.value) { item in
      if isValid(schema, item.type, item.value) { matched += 1 }
      return !runner.hasFault
    }
    guard isWhole else { return }
    if matched < least {
      add(
        part.schema, part.name,
        least == 1
          ? "no item is as it must contain one"
          : "\(matched) items are as it must contain at least \(least)")
    } else if let most, matched > most {
      add(part.schema, part.name, "\(matched) items are as it must contain at most \(most)")
    }
  }

  // MARK: Objects

  private static func token(_ key: Bytes) -> String {
    let start = String(decoding: key.prefix(4 * maximumToken), as: UTF8.self)
    return Explainer.shortened(start, to: maximumToken)
  }

  private static func isSame(_ key: Bytes, _ name: String) -> Bool {
    key.count == name.utf8.count && name.utf8.elementsEqual(key)
  }

  private func has(_ part: Part, _ name: String) -> Bool {
    !runner.forEach(part.value) { !Self.isSame($0.key, name) }
  }

  mutating func searchObject(_ keyword: Keyword, _ part: Part) {
    switch keyword {
    case .minProperties(let least):
      let count = count(part.value, upTo: least)
      if count < least {
        add(part.schema, part.name, "there are \(count) properties, fewer than \(least)")
      }
    case .maxProperties(let most):
      guard exceeds(part, most) else { return }
      add(
        part.schema, part.name, "there are \(count(part.value)) properties, more than \(most)")
    case .required(let names):
      let missing = names.filter { !has(part, $0) }
      if !missing.isEmpty { add(part.schema, part.name, "\(Explainer.list(missing)) missing") }
    case .dependentRequired(let dependent):
      for (name, required) in dependent where isOpen && has(part, name) {
        let missing = required.filter { !has(part, $0) }
        guard !missing.isEmpty else { continue }
        add(
          part.schema, part.name,
          "\(Explainer.list(missing)) missing, required beside \"\(name)\"")
      }
    case .dependentSchemas(let dependent):
      for (name, schema) in dependent where isOpen && has(part, name) {
        guard !isValid(schema, part.type, part.value) else { continue }
        descend(
          schema, part.type, part.value,
          under: "/\(part.name)/" + JSONPointer.escaped(name))
      }
    default: searchMembers(keyword, part)
    }
  }

  private mutating func searchMembers(_ keyword: Keyword, _ part: Part) {
    let place = "/\(part.name)"
    _ = runner.forEach(part.value) { member in
      switch keyword {
      case .propertyNames(let schema):
        let name = Runner.stringValue(member.key)
        if !isValid(schema, .string, name) {
          descend(schema, .string, name, under: place, at: Self.token(member.key))
        }
      case .properties(let named):
        let node = property(member.key, part)
        guard node >= 0, !runner.check(node, member.type, member.value, -1), isOpen,
          // The last of a name that repeats, as parsers have it.
          let schema = named.last(where: { Self.isSame(member.key, $0.name) })?.schema
        else { break }
        let token = Self.token(member.key)
        descend(
          schema, member.type, member.value, under: "\(place)/" + JSONPointer.escaped(token),
          at: token)
      case .patternProperties(let patterns):
        for (pattern, schema) in patterns where isOpen && finds(pattern, member.key) {
          guard !isValid(schema, member.type, member.value) else { continue }
          descend(
            schema, member.type, member.value,
            under: "\(place)/" + JSONPointer.escaped(pattern.text), at: Self.token(member.key))
        }
      case .additionalProperties(let schema, _, let patterns):
        guard property(member.key, part) < 0,
          !patterns.contains(where: { finds($0, member.key) }), isOpen
        else { break }
        searchExtra(schema, member, part)
      default: break
      }
      return isOpen
    }
  }

  /// The node of a key's schema among `properties`, or -1.
  private func property(_ key: Bytes, _ part: Part) -> Int32 {
    guard part.node.pointee.object >= 0 else { return -1 }
    let keys = state.pointee.objects[Int(part.node.pointee.object)].keys
    let entry = runner.entry(keys, key)
    return entry < 0 ? -1 : runner.entryPointer(keys, entry).pointee.node
  }

  private func finds(_ pattern: Pattern, _ key: Bytes) -> Bool {
    runner.charge(1 &+ (key.count &* SchemaBudget.patternCost) &>> 6)
      && runner.searchSlowly(pattern, key)
  }

  /// A member that no other keyword has looked at.
  private mutating func searchExtra(_ schema: SchemaID, _ member: BSONElement, _ part: Part) {
    guard !isValid(schema, member.type, member.value), isOpen else { return }
    let token = Self.token(member.key)
    guard part.kind == .object, case .never = model.schemas[schema].content else {
      return descend(schema, member.type, member.value, under: "/\(part.name)", at: token)
    }
    at(token) { $0.add(part.schema, part.name, "the property \"\(token)\" is not allowed") }
  }

  // MARK: What nothing else looked at

  /// `keywords` are those of the same schema.
  mutating func searchUnevaluated(
    _ rest: SchemaID, _ part: Part, _ keywords: [(name: String, keyword: Keyword)]
  ) {
    let frame = runner.pushFrame(for: part.value)
    guard frame >= 0 else { return }
    defer { state.pointee.popBits(frame) }
    for (_, keyword) in keywords { mark(keyword, part, frame) }
    var index = 0
    _ = runner.forEach(part.value) { element in
      if !state.pointee.isSet(index, in: frame) {
        if part.kind == .object {
          searchExtra(rest, element, part)
        } else if !isValid(rest, element.type, element.value) {
          descend(rest, element.type, element.value, under: "/\(part.name)", at: "\(index)")
        }
      }
      index += 1
      return isOpen
    }
  }

  /// Marks what a keyword looked at, whether it holds or not; what is below it counts only if that
  /// holds.
  private func mark(_ keyword: Keyword, _ part: Part, _ frame: Int32) {
    switch keyword {
    case .allOf(let schemas), .anyOf(let schemas):
      for schema in schemas { branch(schema, part, frame) }
    case .oneOf(let schemas):
      let matched = schemas.filter { isValid($0, part.type, part.value) }
      if matched.count == 1 { branch(matched[0], part, frame) }
    case .reference(let schema): branch(schema, part, frame)
    case .dynamicReference(let initial, let anchor):
      branch(target(initial, anchor), part, frame)
    case .condition(let test, let then, let otherwise):
      let holds = branch(test, part, frame)
      if let schema = holds ? then : otherwise { branch(schema, part, frame) }
    case .dependentSchemas(let dependent) where part.kind == .object:
      for (name, schema) in dependent where has(part, name) { branch(schema, part, frame) }
    case .properties, .patternProperties, .additionalProperties:
      if part.kind == .object { markElements(keyword, part, frame) }
    case .prefixItems, .items, .contains:
      if part.kind == .array { markElements(keyword, part, frame) }
    default: break
    }
  }

  @discardableResult
  private func branch(_ schema: SchemaID, _ part: Part, _ frame: Int32) -> Bool {
    runner.checkBranch(
      state.pointee.program.nodesOfSchemas[schema], part.type, part.value, frame)
  }

  private func markElements(_ keyword: Keyword, _ part: Part, _ frame: Int32) {
    var index = 0
    _ = runner.forEach(part.value) { element in
      let isLookedAt: Bool
      switch keyword {
      case .properties: isLookedAt = property(element.key, part) >= 0
      case .patternProperties(let patterns):
        isLookedAt = patterns.contains { finds($0.pattern, element.key) }
      case .additionalProperties: isLookedAt = true
      case .prefixItems(let schemas): isLookedAt = index < schemas.count
      case .items: isLookedAt = true
      case .contains(let schema, _, _, true):
        isLookedAt = isValid(schema, element.type, element.value)
      default: return false
      }
      if isLookedAt { state.pointee.mark(index, in: frame) }
      index += 1
      return isOpen
    }
  }
}
