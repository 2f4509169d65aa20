import JSON

/// Tells the fields of a record from names that are data, as in a map.
struct ObjectShape {
  /// The fields, in the order in which they were met.
  private(set) var fields: [FieldTable.Field] = []
  /// The values of all other members, put together.
  private(set) var rest: ValueStatistics?
  /// How many such names there were, at least.
  private(set) var restNames = 0
  /// What these names look like.
  private(set) var namePattern: String?

  /// Names in fewer objects than one in so many are rare.
  private static let rare = 10
  /// So many rare names are data if they look like it otherwise.
  private static let many = 12

  init(_ objects: ObjectStatistics) {
    let all = objects.table.fields
    let isData: (FieldTable.Field) -> Bool
    let forms = all.map { $0.name.withUnsafeBytes { TextForms.ofKeys.kept(by: $0) } }
    if objects.rest == nil, all.count >= 2, forms.allSatisfy({ !$0.isEmpty }),
      !forms.reduce(TextForms.ofKeys, { $0.intersection($1) }).isEmpty
    {
      isData = { _ in true }
    } else {
      let rare = all.filter { $0.presence * Self.rare < objects.count }
      let once = rare.count { $0.presence == 1 }
      let looksLikeData =
        rare.count >= Self.many && Self.areAlike(rare)
        && (once * 4 >= rare.count || rare.count >= 64)
      let isRareData = objects.rest != nil || looksLikeData
      guard isRareData || all.contains(where: Self.isSecret) else {
        fields = all
        return
      }
      isData = { field in
        isRareData && field.presence * Self.rare < objects.count || Self.isSecret(field)
      }
    }
    let merged = ValueStatistics(depth: objects.depth + 1)
    var names = objects.restNames
    var memory = InferenceMemory()
    if let present = objects.rest { merged.merge(present, &memory) }
    restNames = objects.restNames.values?.count ?? StringStatistics.mostValues
    for field in all {
      guard isData(field) else {
        fields.append(field)
        continue
      }
      merged.merge(field.value, &memory)
      field.name.withUnsafeBytes { names.observe($0, times: field.presence) }
      restNames += 1
    }
    rest = merged
    namePattern = Self.pattern(names)
  }

  /// A name that is a secret itself, such as a token. It isn't to be quoted.
  private static func isSecret(_ field: FieldTable.Field) -> Bool {
    SecretLikeness.reason(value: String(decoding: field.name, as: UTF8.self)) != nil
  }

  /// Whether the values are all of one type.
  private static func areAlike(_ fields: [FieldTable.Field]) -> Bool {
    fields.reduce(into: Set<String>()) { $0.formUnion($1.value.kinds) }.count <= 1
  }

  private static func pattern(_ names: StringStatistics) -> String? {
    guard names.count >= 5 else { return nil }
    if names.forms.contains(.objectID) { return TextForms.objectIDPattern }
    return names.forms.contains(.digits) ? "^[0-9]+$" : nil
  }
}
