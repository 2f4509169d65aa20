import SchemaInference

/// Looks for the field that says what a document belongs to: its room, channel, tenant, user.
enum ParentSearch {
  struct Parent: Sendable, Equatable {
    /// Below the document, such as `rid` or `u._id`.
    var path: String
    /// What `$type` calls its values.
    var kind: String
    var presence: Int
    var distinct: Int
  }

  /// What parents are called, the nearest first: a message has a room and a user, and is looked for by its room.
  private static let kinds: [[String]] = [
    ["room", "rid"], ["channel", "cid"], ["conversation", "chat", "thread", "discussion", "topic"],
    ["project", "board", "ticket", "order", "document"],
    [
      "tenant", "tid", "organization", "organisation", "org", "workspace", "team", "company",
      "account",
    ],
    ["customer", "client", "visitor"],
    ["user", "uid", "u", "owner", "author", "sender", "member", "createdby"],
    ["parent", "group"],
  ]
  private static let kindsOfValues: Set<String> = ["string", "objectId", "int", "long", "binData"]
  /// Tokens of subjects may be 255 bytes long, with three for each byte that is escaped.
  private static let longest = 80

  static func parent(of facts: SampledCollection, notIn excluded: [String]) -> Parent? {
    var best: (rank: Int, path: String, field: SampledCollection.Field)?
    for (path, field) in facts.fields {
      guard let rank = rank(of: path), field.kinds.count == 1, let kind = field.kinds.first,
        kindsOfValues.contains(kind), field.longest <= longest,
        // A key of its own, or always the same one, says nothing of belonging.
        facts.documents < 8 || field.values.count * 10 <= facts.documents * 9,
        // Rare ones leave most documents to the other rule.
        field.presence * 2 >= facts.documents,
        !excluded.contains(where: { path == $0 || path.hasPrefix($0 + ".") })
      else { continue }
      let isBetter = best.map { (rank, path) < ($0.rank, $0.path) } ?? true
      if isBetter { best = (rank, path, field) }
    }
    guard let best, let kind = best.field.kinds.first else { return nil }
    return Parent(
      path: best.path, kind: kind, presence: best.field.presence,
      distinct: best.field.values.count)
  }

  /// The place of a path in the order of parents; nil if it is not called like one.
  private static func rank(of path: String) -> Int? {
    let names = path.split(separator: ".").map(String.init)
    // `room._id`, `u._id`: the key of a document within.
    let isKey = names.count == 2 && ["_id", "id"].contains(names[1])
    guard names.count == 1 || isKey else { return nil }
    var words = SecretLikeness.parts(of: names[0])
    if words.count > 1, ["id", "key", "ref"].contains(words.last) { words.removeLast() }
    // `roomid`, `userid`.
    if words.count == 1, words[0].count > 4, words[0].hasSuffix("id") {
      words[0] = String(words[0].dropLast(2))
    }
    let name = words.joined()
    guard let index = kinds.firstIndex(where: { $0.contains(name) }) else { return nil }
    // Plain `u`, `account` and the like are names as often as documents: only with a key.
    if !isKey, name == "u" { return nil }
    return index * 2 + (isKey ? 1 : 0)
  }
}
