import BSON
import Testing

@Suite struct ByteWriterTests {
  @Test func growsWithWhatItIsGiven() {
    var expected: [UInt8] = []
    let bytes = written { writer in
      for number in 0..<5_000 {
        let piece = Array("\(number),".utf8)
        writer.append(piece)
        expected += piece
      }
    }
    #expect(bytes == expected)
  }

  @Test func literalsStringsAndBytesAreOneAfterTheOther() {
    let number = 42
    let bytes = written { writer in
      writer.append("a literal, ")
      writer.append("a string \(number), ")
      writer.append(UInt8(ascii: "b"))
      writer.append(UnsafeRawBufferPointer(start: nil, count: 0))
    }
    #expect(String(decoding: bytes, as: UTF8.self) == "a literal, a string 42, b")
  }

  @Test func numbersAreLittleEndian() {
    let bytes = written { writer in
      writer.append(littleEndian: 0x0403_0201 as Int32)
      writer.append(littleEndian: -2 as Int64)
    }
    #expect(bytes == [1, 2, 3, 4, 0xFE] + [UInt8](repeating: 0xFF, count: 7))
  }

  @Test func placeholdersArePatched() {
    let text = text { writer in
      let at = writer.appendPlaceholder(6)
      writer.append("!")
      let fits = [1_234, 999_999, 1_000_000].map { writer.patch(decimal: $0, at: at, width: 6) }
      #expect(fits == [true, true, false])
      writer.clear(at: at, width: 6)
      writer.patch(decimal: 57, at: at, width: 6)
      writer.patch(UInt8(ascii: "-"), at: at)
    }
    #expect(text == "-00057!")
  }

  @Test func insertsAndTakesBack() {
    let text = text { writer in
      writer.append("ac")
      writer.insert(Array("b".utf8), at: 1)
      writer.insert([], at: 3)
      writer.insert(Array("d".utf8), at: 3)
      writer.append(" and more")
      writer.truncate(to: 4)
    }
    #expect(text == "abcd")
  }
}
