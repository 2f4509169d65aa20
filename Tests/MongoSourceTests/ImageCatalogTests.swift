import BSON
import MongoSource
import Oplog
import Testing

/// Which document an image belongs to.
@Suite struct ImageCatalogTests {
  private func add(_ operation: OperationType, _ key: String, to request: inout ImageRequest) throws
  {
    let key = try ExtendedJSON.bson(key)
    let namespace = Array("d.c".utf8)
    try namespace.withUnsafeBytes { namespace in
      try key.withUnsafeBytes { key in
        let position = OplogPosition(seconds: 1, increment: UInt32(request.count + 1))
        var event = ChangeEvent(
          operation: operation, position: EventPosition(entry: position, index: 0),
          namespace: namespace, databaseLength: 1)
        event.documentKey = try BSONView(key)
        request.add(event, wanted: true)
      }
    }
  }

  /// The found documents that match each change, by its number.
  private func taken(_ keys: [String], _ found: [String]) throws -> [[Int]] {
    var request = ImageRequest()
    for key in keys { try add(.update, key, to: &request) }
    let catalog = ImageCatalog(request, limit: keys.count)
    var taken = [[Int]](repeating: [], count: keys.count)
    for (number, text) in found.enumerated() {
      try ExtendedJSON.bson(text).withUnsafeBytes { bytes in
        let document = try BSONView(bytes)
        guard let id = try document.first("_id") else { return }
        for candidate in catalog.documents(in: 0, id: id) where catalog.matches(candidate, document)
        {
          for change in keys.indices where catalog.documentOf[change] == candidate {
            taken[change].append(number)
          }
        }
      }
    }
    return taken
  }

  @Test func documentsOfOneIDOnSeveralShardsAreToldApart() throws {
    let keys = [#"{"x":1,"_id":7}"#, #"{"x":2,"_id":7}"#, #"{"x":1,"_id":7}"#, #"{"_id":8}"#]
    let found = [
      #"{"_id":7,"x":2,"n":"second"}"#, #"{"_id":7,"x":1,"n":"first"}"#, #"{"_id":7,"x":3}"#,
      #"{"_id":8,"x":1}"#,
    ]
    #expect(try taken(keys, found) == [[1], [0], [1], [3]])
  }

  @Test func valuesOfOtherTypesAreOtherDocuments() throws {
    let keys = [
      #"{"_id":{"$binary":{"base64":"eA==","subType":"00"}}}"#,
      #"{"_id":{"$binary":{"base64":"eA==","subType":"80"}}}"#, #"{"_id":"eA=="}"#,
      #"{"_id":{"a":1,"b":2}}"#, #"{"_id":{"b":2,"a":1}}"#, "{\"_id\":\"\u{E9}\"}",
      "{\"_id\":\"e\u{301}\"}",
    ]
    #expect(try taken(keys, keys) == keys.indices.map { [$0] })
  }
}
