import BSON
import CLibMongoC
import Testing

@Suite struct BSONBuilderTests {
  @Test func nestedDocumentHasTheSpecifiedBytes() {
    let bytes = document { writer in
      writer.append(key: "a", int32: 1)
      let list = writer.beginArray(key: "l")
      writer.append(index: 0, string: "x")
      writer.endDocument(list)
    }
    #expect(
      bytes
        == hex("1D000000") + hex("10 6100 01000000")
        + hex("04 6C00 0E000000 02 3000 02000000 7800 00") + [0])
  }

  @Test func writesWhatLibBSONWrites() throws {
    let theirs = bson_new()
    let reference = try #require(theirs)
    defer { bson_destroy(reference) }
    bson_append_int32(reference, "i", -1, -5)
    bson_append_int64(reference, "l", -1, .min)
    bson_append_double(reference, "d", -1, 0.1)
    bson_append_bool(reference, "b", -1, true)
    bson_append_null(reference, "n", -1)
    bson_append_date_time(reference, "t", -1, 1_763_900_000_123)
    bson_append_timestamp(reference, "ts", -1, 4_294_967_295, 7)
    bson_append_utf8(reference, "s", -1, "gr\u{FC}n", -1)
    let inner = try #require(bson_new())
    defer { bson_destroy(inner) }
    bson_append_int32(inner, "x", -1, 1)
    bson_append_document(reference, "o", -1, inner)

    let x = document { $0.append(key: "x", int32: 1) }
    let ours = document { writer in
      writer.append(key: "i", int32: -5)
      writer.append(key: "l", int64: .min)
      writer.append(key: "d", double: 0.1)
      writer.append(key: "b", bool: true)
      writer.appendNull(key: "n")
      writer.append(key: "t", date: 1_763_900_000_123)
      writer.append(key: "ts", timestamp: 4_294_967_295, increment: 7)
      writer.append(key: "s", string: "gr\u{FC}n")
      x.withUnsafeBytes { bytes in
        if let view = try? BSONView(bytes) { writer.append(key: "o", document: view) }
      }
    }
    #expect(ours == LibBSON.bytes(reference))
  }

  @Test func emptyDocumentIsFiveBytes() {
    #expect(document { _ in } == [5, 0, 0, 0, 0])
  }

  @Test func copiesElementsUnderTheirOwnAnotherOrAnArraysKey() throws {
    let source = document { $0.append(key: "k", string: "v") }
    let copy = try source.withUnsafeBytes { bytes in
      let element = try #require(try BSONView(bytes).first("k"))
      return document { writer in
        writer.append(element: element)
        writer.append(element: element, key: "other")
        let array = writer.beginArray(key: "a")
        writer.append(element: element, index: 0)
        let inner = writer.beginDocument(index: 1)
        writer.append(element: element, key: element.key)
        writer.endDocument(inner)
        let list = writer.beginArray(index: 2)
        writer.endDocument(list)
        writer.endDocument(array)
      }
    }
    #expect(try json(copy, .simplified) == #"{"k":"v","other":"v","a":["v",{"k":"v"},[]]}"#)
  }

  @Test func buildsInTheMiddleOfAWriterAndWhileItGrows() throws {
    let bytes = written { writer in
      writer.append("before")
      let mark = writer.beginDocument()
      for number in 0..<1000 { writer.append(key: "n", int64: Int64(number)) }
      writer.endDocument(mark)
    }
    try bytes.dropFirst(6).withUnsafeBytes { bytes in
      var walk = try BSONView(bytes).elements()
      var numbers: [Int64] = []
      while let element = try walk.next() { numbers.append(try #require(element.int64)) }
      #expect(numbers == Array(0..<1000))
    }
  }

  @Test func keyWithNULIsRefused() async {
    await #expect(processExitsWith: .failure) {
      var writer = ByteWriter(capacity: 64)
      _ = writer.beginDocument()
      writer.append(key: "a\0b", int32: 1)
    }
  }
}
