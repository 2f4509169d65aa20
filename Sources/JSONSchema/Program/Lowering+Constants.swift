import JSON

extension Lowering {
  /// Up to this many constants a value is compared with each.
  private static let fewConstants = 4

  mutating func enumeration(_ values: [JSONValue]) -> ProgramStep {
    var strings = KeySet()
    var others: [ProgramConstant] = []
    var hashes: [UInt64] = []
    for value in values {
      if case .string(let text) = value {
        strings.set(text, node: 0)
      } else {
        others.append(tables.constants[Int(constant(value))])
        hashes.append(value.stableHash)
      }
    }
    let first = Int32(tables.constants.count)
    tables.constants += others
    var hashed: Int32 = -1
    if others.count > Self.fewConstants {
      hashed = Int32(tables.hashed.count)
      tables.hashed += hashes.enumerated()
        .map { HashedConstant(hash: $0.element, constant: first + Int32($0.offset)) }
        .sorted { ($0.hash, $0.constant) < ($1.hash, $1.constant) }
    }
    return ProgramStep(
      kind: .enumeration, a: table(strings), b: first, c: Int32(others.count), d: hashed)
  }

  mutating func constant(_ value: JSONValue) -> Int32 {
    let made: ProgramConstant
    switch value {
    case .null: made = ProgramConstant(kind: .null, value: 0)
    case .bool(let flag): made = ProgramConstant(kind: .boolean, value: flag ? 1 : 0)
    case .number(let text):
      // The parser only lets numbers through.
      let decimal = ExactDecimal(text) ?? ExactDecimal(isNegative: false, digits: [], exponent: 0)
      made = ProgramConstant(kind: .number, value: Int32(tables.constantNumbers.count))
      tables.constantNumbers.append(NumberConstant(decimal))
    case .string(let text):
      made = ProgramConstant(
        kind: .string, value: Int32(tables.text.count), count: Int32(text.utf8.count))
      tables.text += Array(text.utf8)
    case .array(let elements):
      let children = elements.map { constant($0) }
      made = ProgramConstant(
        kind: .array, value: Int32(tables.lists.count), count: Int32(children.count))
      tables.lists += children
    case .object(let members):
      var keys = KeySet()
      for member in members { keys.set(member.key, node: constant(member.value)) }
      made = ProgramConstant(kind: .object, value: table(keys), count: Int32(keys.keys.count))
    }
    tables.constants.append(made)
    return Int32(tables.constants.count - 1)
  }
}
