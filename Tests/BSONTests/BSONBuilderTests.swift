import BSON
import Testing

@Suite struct BSONBuilderTests {
  @Test func nestedDocumentHasTheSpecifiedBytes() throws {
    var writer = ByteWriter(capacity: 64)
    let outer = writer.beginDocument()
    writer.append(key: "a", int32: 1)
    let list = writer.beginArray(key: "l")
    writer.append(index: 0, string: "x")
    writer.endDocument(list)
    writer.endDocument(outer)
    #expect(
      Array(writer.bytes) == [
        0x1D, 0, 0, 0,
        0x10, 0x61, 0, 1, 0, 0, 0,
        0x04, 0x6C, 0, 0x0E, 0, 0, 0, 0x02, 0x30, 0, 2, 0, 0, 0, 0x78, 0, 0,
        0,
      ])
  }
}
