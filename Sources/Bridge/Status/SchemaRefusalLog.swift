import JSONSchema
package import Oplog

/// Bodies that schemas refuse, by rule and keyword, since the process began: whether `on_invalid` makes their events dead
/// letters, drops them or halts. A pure value.
package struct SchemaRefusalLog: Sendable {
  /// Bodies that one keyword of a rule's schema has refused. Nothing of them is in it.
  package struct Entry: Sendable, Equatable {
    package var rule: String
    /// The first keyword that a body violates: a JSON pointer through the schema, with references followed; nil: all
    /// keywords beyond those that are counted one by one.
    package var keyword: String?
    package var count: UInt64
    package var first: EventPosition
    package var newest: EventPosition

    /// Where in bodies it applies: a JSON pointer with `*` for any member or item.
    package var place: String? { keyword.map { EvaluationPath.place($0) } }
  }

  private struct Key: Hashable {
    var rule: String
    var keyword: String?
  }

  /// In the order of their first occurrence.
  package private(set) var entries: [Entry] = []
  private var indices: [Key: Int] = [:]
  private var keywordsOfRule: [String: Int] = [:]

  /// So many keywords of a rule are counted one by one, and of all rules.
  package static let mostKeywords = 32
  package static let mostEntries = 256
  /// The maximum length of a keyword's pointer, in bytes: it is in every answer of `/metrics`.
  package static let longestKeyword = 512

  package init() {}

  /// Counts one event of which a rule's body was refused.
  package mutating func note(rule: String, keyword: String?, _ position: EventPosition) {
    var key = Key(rule: rule, keyword: keyword)
    if let keyword, indices[key] == nil,
      keyword.utf8.count > Self.longestKeyword || entries.count >= Self.mostEntries
        || keywordsOfRule[rule, default: 0] >= Self.mostKeywords
    {
      key.keyword = nil
    }
    guard let index = indices[key] else {
      indices[key] = entries.count
      if key.keyword != nil { keywordsOfRule[rule, default: 0] += 1 }
      entries.append(
        Entry(rule: rule, keyword: key.keyword, count: 1, first: position, newest: position))
      return
    }
    entries[index].count += 1
    entries[index].newest = max(entries[index].newest, position)
  }
}
