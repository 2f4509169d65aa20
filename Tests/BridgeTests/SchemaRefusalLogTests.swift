import Bridge
import Oplog
import Testing

@Suite struct SchemaRefusalLogTests {
  private func position(_ index: UInt32) -> EventPosition {
    EventPosition(entry: OplogPosition(seconds: 10, increment: 1), index: index)
  }

  @Test func `bodies that schemas refuse are counted by keyword, up to a number of them`() {
    var log = SchemaRefusalLog()
    for index in [UInt32(5), 7, 6] {
      log.note(rule: "a", keyword: "/properties/p0/type", position(index))
    }
    log.note(rule: "b", keyword: "/properties/p0/type", position(8))
    log.note(rule: "a", keyword: nil, position(9))
    #expect(log.entries.map(\.keyword) == ["/properties/p0/type", "/properties/p0/type", nil])
    #expect(log.entries.map(\.count) == [3, 1, 1])
    #expect(log.entries.first?.first == position(5) && log.entries.first?.newest == position(7))
    for index in 1..<50 {
      log.note(rule: "a", keyword: "/properties/p\(index)/type", position(UInt32(index)))
    }
    log.note(rule: "a", keyword: "/" + String(repeating: "x", count: 600), position(99))
    let ofRule = log.entries.filter { $0.rule == "a" }
    #expect(ofRule.count == SchemaRefusalLog.mostKeywords + 1)
    #expect(ofRule.reduce(0) { $0 + $1.count } == 54)
    for index in 0..<300 { log.note(rule: "r\(index)", keyword: "/type", position(1)) }
    #expect(log.entries.count { $0.keyword != nil } <= SchemaRefusalLog.mostEntries)
  }

  private static let places: [(keyword: String, place: String)] = [
    ("/type", ""), ("", ""), ("/properties/a~1b/properties/properties/enum", "/a~1b/properties"),
    ("/properties/a/items/$ref/properties/b/anyOf/1/maxLength", "/a/*/b"),
    ("/prefixItems/0/type", "/0"), ("/items/2/type", "/2"), ("/items/type", "/*"),
    ("/additionalProperties", "/*"), ("/patternProperties/^x/required", "/*"),
    ("/propertyNames/pattern", ""), ("/if/then/dependentSchemas/a/required", ""),
    ("/allOf/0/then/properties/items/minItems", "/items"), ("/properties", ""),
  ]

  @Test(arguments: places.indices)
  func `the place in bodies follows from the keyword`(_ index: Int) {
    let (keyword, place) = Self.places[index]
    var log = SchemaRefusalLog()
    log.note(rule: "a", keyword: keyword, position(1))
    #expect(log.entries.first?.place == place)
  }
}
