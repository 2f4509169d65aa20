import JSON

/// `uniqueItems`: what MongoDB tells apart can be the same in JSON, like an ObjectId and the string of its digits.
enum ItemDistinction {
  static let obstacle =
    "without items of one bsonType, some that differ in BSON may be the same in JSON"

  /// By types of which only one becomes a string, and only one a number that is written as it is.
  private static let texts: Set<String> = ["string", "objectId", "date", "double"]
  private static let others: Set<String> = ["int", "long", "bool", "null"]

  /// Whether items that differ by MongoDB differ in JSON.
  static func isSame(_ items: JSONValue?) -> Bool {
    guard case .object? = items, let stated = items?["bsonType"] ?? items?["type"] else {
      return false
    }
    let types = stated.arrayValue?.compactMap(\.stringValue) ?? [stated.stringValue ?? ""]
    return types.allSatisfy { texts.contains($0) || others.contains($0) }
      && types.count(where: texts.contains) <= 1
      && !(types.contains("double") && types.contains("long"))
  }
}
