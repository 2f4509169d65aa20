import JSON
import JSONSchema
import Patterns

extension Solver {
  /// Whether a literal holds for a value; nil if that is not known.
  func holds(_ literal: Literal, _ value: JSONValue) -> Bool? {
    evaluationSteps += 1
    guard evaluationSteps < Self.evaluationLimit else { return nil }
    return holds(builder.table[literal], value).map { $0 == literal.isPositive }
  }

  private func holds(_ term: Term, _ value: JSONValue) -> Bool? {
    switch term {
    case .always: return true
    case .all(let literals): return all(literals) { holds($0, value) }
    case .schema(let number): return holds(builder.body(number), value)
    case .types(let types): return JSONTypes(rawValue: types).contains(value.schemaType)
    case .value(let text): return Text(Canonical.text(value)) == text
    case .opaque: return nil
    case .atLeast, .multipleOf:
      guard case .number(let digits) = value, let number = ExactDecimal(digits) else {
        return false
      }
      return holds(term, number)
    case .length, .pattern, .format:
      guard case .string(let text) = value else { return false }
      return holds(term, text)
    case .items, .unique, .itemAt, .someItem, .count:
      guard case .array(let items) = value else { return false }
      return holds(term, items)
    case .members, .member, .someMember, .someKey:
      guard case .object(let members) = value else { return false }
      return holds(term, members)
    }
  }

  private func holds(_ term: Term, _ number: ExactDecimal) -> Bool? {
    switch term {
    case .atLeast(let bound, let isExclusive):
      let order = number.compared(to: bound.decimal)
      return isExclusive ? order > 0 : order >= 0
    case .multipleOf(let divisor):
      return DecimalDivisor(divisor.decimal).map { number.isMultiple(of: $0) }
    default: return nil
    }
  }

  private func holds(_ term: Term, _ text: String) -> Bool? {
    switch term {
    case .length(let least): return text.unicodeScalars.count >= least
    case .pattern(let number): return isFound(number, text)
    case .format(let format):
      var text = text
      return text.withUTF8 { format.accepts(UnsafeRawBufferPointer($0)) }
    default: return nil
    }
  }

  /// Whether a pattern is found in a text; nil if that takes too long.
  func isFound(_ pattern: Int, _ text: String) -> Bool? {
    var text = text
    let outcome = text.withUTF8 {
      builder.table.patterns[pattern].search(UnsafeRawBufferPointer($0), &scratch)
    }
    switch outcome {
    case .found: return true
    case .missing: return false
    case .tooComplex: return nil
    }
  }

  private func holds(_ term: Term, _ items: [JSONValue]) -> Bool? {
    switch term {
    case .items(let least): return items.count >= least
    case .unique:
      return Set(items.map { Text(Canonical.text($0)) }).count == items.count
    case .itemAt(let index, let literal):
      return items.indices.contains(index) ? holds(literal, items[index]) : false
    case .someItem(let from, let literal):
      return some(items.dropFirst(from)) { holds(literal, $0) }
    case .count(let least, let literal):
      let verdicts = items.map { holds(literal, $0) }
      let sure = verdicts.count { $0 == true }
      if sure >= least { return true }
      return sure + verdicts.count { $0 == nil } < least ? false : nil
    default: return nil
    }
  }

  private func holds(_ term: Term, _ members: [JSONValue.Member]) -> Bool? {
    switch term {
    case .members(let least): return members.count >= least
    case .member(let name, let literal):
      guard let member = members.first(where: { $0.key.isSame(as: name.string) }) else {
        return false
      }
      return holds(literal, member.value)
    case .someMember(let keys, let literal):
      return some(members) { member in
        switch contains(keys, Text(member.key)) {
        case false?: return false
        case true?: return holds(literal, member.value)
        case nil: return holds(literal, member.value) == false ? false : nil
        }
      }
    case .someKey(let literal): return some(members) { holds(literal, .string($0.key)) }
    default: return nil
    }
  }

  /// Whether a set has a name.
  func contains(_ keys: KeySet, _ name: Text) -> Bool? {
    switch keys {
    case .matching(let pattern): return isFound(pattern, name.string)
    case .outside(let names, let patterns):
      if names.contains(name) { return false }
      return some(patterns) { isFound($0, name.string) }.map { !$0 }
    }
  }

  // MARK: Three values

  func all<Element>(_ elements: some Sequence<Element>, _ test: (Element) -> Bool?) -> Bool? {
    var verdict: Bool? = true
    for element in elements {
      switch test(element) {
      case false?: return false
      case nil: verdict = nil
      case true?: break
      }
    }
    return verdict
  }

  func some<Element>(_ elements: some Sequence<Element>, _ test: (Element) -> Bool?) -> Bool? {
    var verdict: Bool? = false
    for element in elements {
      switch test(element) {
      case true?: return true
      case nil: verdict = nil
      case false?: break
      }
    }
    return verdict
  }
}
