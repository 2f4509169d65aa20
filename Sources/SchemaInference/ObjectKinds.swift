import JSON

/// Objects told apart by the value of one member, such as `type` or `operationType`.
final class ObjectKinds {
  let name: [UInt8]
  private(set) var kinds: [(value: [UInt8], statistics: ObjectStatistics)] = []
  /// Those without a string under that name.
  private(set) var others: ObjectStatistics?

  static let most = 16

  init(name: [UInt8]) { self.name = name }

  var isTooMany: Bool { kinds.count > Self.most }
  var all: [ObjectStatistics] { kinds.map(\.statistics) + (others.map { [$0] } ?? []) }

  /// - Returns: whether this is of no use any more: there are too many kinds, or an object has the member twice, which
  ///   some readers take for the one and others for the other.
  func observe(
    _ scanner: inout JSONScanner, _ reader: inout StatisticsReader, depth: Int
  ) throws(JSONError) -> Bool {
    // A look ahead, for the member that decides.
    var ahead = scanner
    let value = try reader.string(named: name, in: &ahead)
    let statistics = statistics(value, depth)
    try statistics.observeMembers(&scanner, &reader)
    return isTooMany || statistics.hasRepeated(name)
  }

  private func statistics(_ value: [UInt8]?, _ depth: Int) -> ObjectStatistics {
    guard let value else {
      if let others { return others }
      let made = ObjectStatistics(depth: depth)
      others = made
      return made
    }
    if let known = kinds.first(where: { $0.value == value }) { return known.statistics }
    let made = ObjectStatistics(depth: depth)
    kinds.append((value, made))
    return made
  }

  /// The objects of all kinds, as if they hadn't been told apart.
  func together(depth: Int) -> ObjectStatistics {
    let whole = ObjectStatistics(depth: depth)
    var memory = InferenceMemory()
    for part in all { whole.mergeMembers(part, &memory) }
    return whole
  }

  func merge(_ other: ObjectKinds, depth: Int, _ memory: inout InferenceMemory) {
    for kind in other.kinds {
      statistics(kind.value, depth).mergeMembers(kind.statistics, &memory)
    }
    if let theirs = other.others { statistics(nil, depth).mergeMembers(theirs, &memory) }
  }
}

/// Looks for the member whose value decides which other members an object has, or of which types they are.
struct KindSearch {
  private(set) var name: [UInt8]?

  private static let fewest = 20
  /// Names that are usual for it win a tie.
  private static let usual = ["type", "kind", "_t", "t", "event", "operationType", "op", "action"]

  init(_ fields: [FieldTable.Field], _ texts: [[UInt8]]) {
    guard texts.count >= Self.fewest else { return }
    let objects = texts.compactMap { try? JSONValue(parsing: $0) }
    let optional = fields.filter { field in
      let share = Double(field.presence) / Double(texts.count)
      return share > 0.02 && share < 0.98 || field.value.kinds.count > 1
    }.map { String(decoding: $0.name, as: UTF8.self) }
    guard !optional.isEmpty, optional.count <= 64 else { return }
    var best = (explained: 0, isUsual: false, values: Int.max)
    for field in fields where field.presence == texts.count {
      guard field.value.strings.count == field.value.count,
        let values = field.value.strings.values, values.count >= 2,
        values.count <= ObjectKinds.most, values.allSatisfy({ $0.count >= 2 })
      else { continue }
      let candidate = String(decoding: field.name, as: UTF8.self)
      // A schema quotes its values.
      guard SecretLikeness.reason(name: candidate) == nil,
        values.allSatisfy({
          SecretLikeness.reason(value: String(decoding: $0.text, as: UTF8.self)) == nil
        })
      else { continue }
      let explained = Self.explained(by: candidate, optional, objects)
      guard explained > 0, explained * 5 >= optional.count * 3 || explained >= 3 else { continue }
      let isUsual = Self.usual.contains(candidate)
      let isBetter =
        explained > best.explained
        || explained == best.explained
          && (isUsual && !best.isUsual
            || isUsual == best.isUsual && values.count < best.values)
      if isBetter {
        best = (explained, isUsual, values.count)
        name = field.name
      }
    }
  }

  /// How many members are always or never there, and of one type, for each value of another one.
  private static func explained(
    by candidate: String, _ optional: [String], _ objects: [JSONValue]
  ) -> Int {
    var groups: [[UInt8]: [JSONValue]] = [:]
    for object in objects {
      guard let value = object[candidate]?.stringValue else { return 0 }
      groups[Array(value.utf8), default: []].append(object)
    }
    return optional.count { name in
      // A member that decides itself says nothing.
      guard name != candidate else { return false }
      var everywhere: Set<Int> = []
      for group in groups.values {
        let values = group.compactMap { $0[name] }
        let share = Double(values.count) / Double(group.count)
        guard share <= 0.02 || share >= 0.98 else { return false }
        let kinds = Set(values.map(Self.kind).filter { $0 != 0 })
        guard kinds.count <= 1 else { return false }
        everywhere.insert(share <= 0.02 ? -1 : kinds.first ?? 0)
      }
      return everywhere.count > 1
    }
  }

  private static func kind(_ value: JSONValue) -> Int {
    switch value {
    case .null: 0
    case .bool: 1
    case .number: 2
    case .string: 3
    case .array: 4
    case .object: 5
    }
  }
}
