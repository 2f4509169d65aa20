import JSON

// References, and branches of which one applies.

extension Lowering {
  mutating func dynamic(_ schema: SchemaID, _ anchor: String) -> ProgramStep {
    var pairs: [Int32] = []
    for (index, resource) in model.resources.enumerated() {
      guard let target = resource.dynamicAnchors[anchor] else { continue }
      pairs += [Int32(index), node(target)]
    }
    let first = Int32(tables.lists.count)
    tables.lists += pairs
    return ProgramStep(
      kind: .dynamicReference, a: node(schema), b: first, c: Int32(pairs.count))
  }

  mutating func alternatives(
    _ ids: [SchemaID], _ kind: ProgramStep.Kind
  ) -> ProgramStep {
    if let choice = choice(ids) { return choice }
    let (first, count) = list(ids)
    return ProgramStep(kind: kind, b: first, c: count)
  }

  /// Where each branch demands an object with a key that holds other strings than in any other
  /// branch, that key's value selects the branch.
  private mutating func choice(_ ids: [SchemaID]) -> ProgramStep? {
    guard ids.count > 1 else { return nil }
    let branches = ids.map { tags(of: $0) }
    for (name, _) in branches[0] {
      var keys = KeySet()
      var count = 0
      for (id, tags) in zip(ids, branches) {
        guard let values = tags.first(where: { $0.name.utf8.elementsEqual(name.utf8) })?.values
        else {
          count = -1
          break
        }
        let branch = node(id)
        for value in values { keys.set(value, node: branch) }
        count += values.count
      }
      guard count == keys.keys.count else { continue }
      var key = KeySet()
      key.set(name, node: 0)
      return ProgramStep(kind: .choice, a: table(keys), b: table(key))
    }
    return nil
  }

  /// The names that a schema demands of an object to hold one of some strings.
  private func tags(of id: SchemaID) -> [(name: String, values: [String])] {
    if !model.usesDynamicScope, let target = onlyReference(id) { return tags(of: target) }
    guard case .keywords(let keywords) = model.schemas[id].content else { return [] }
    var isObject = false
    var required: [String] = []
    var named: [(name: String, schema: SchemaID)] = []
    for (_, keyword) in keywords {
      switch keyword {
      case .type(let types): isObject = types == .object
      case .required(let names): required = names
      case .properties(let properties): named = properties
      default: break
      }
    }
    guard isObject else { return [] }
    var tags: [(name: String, values: [String])] = []
    for (name, schema) in named
    where required.contains(where: { $0.utf8.elementsEqual(name.utf8) }) {
      if let values = strings(of: schema) { tags.append((name, values)) }
    }
    return tags
  }

  /// The strings that a schema allows, if these are all it allows.
  private func strings(of id: SchemaID) -> [String]? {
    guard case .keywords(let keywords) = model.schemas[id].content else { return nil }
    for (_, keyword) in keywords {
      switch keyword {
      case .const(.string(let text)): return [text]
      case .enumeration(let values):
        let strings = values.compactMap(\.stringValue)
        return strings.count == values.count ? strings : nil
      default: break
      }
    }
    return nil
  }
}
