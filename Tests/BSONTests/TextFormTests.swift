import BSON
import Testing

@Suite struct TextFormTests {
  /// RFC 4648, section 10.
  @Test(arguments: [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
    ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
  ])
  func base64(plain: String, expected: String) {
    let base64 = text { writer in
      Array(plain.utf8).withUnsafeBytes { writer.appendBase64($0) }
    }
    #expect(base64 == expected)
  }

  @Test func base64HasTheWholeAlphabet() {
    let all = hex(
      "00108310518720928B30D38F41149351559761969B71D79F"
        + "8218A39259A7A29AABB2DBAFC31CB3D35DB7E39EBBF3DFBF")
    let base64 = text { writer in all.withUnsafeBytes { writer.appendBase64($0) } }
    #expect(base64 == "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
  }

  @Test func hexIsLowerCase() {
    let digits = text { writer in
      hex("00 09 0A AF FF").withUnsafeBytes { writer.appendHex($0) }
    }
    #expect(digits == "00090aafff")
  }

  /// Four bytes are written at once.
  @Test func hexOfEveryByteAndLength() {
    let all = (0..<256).map { UInt8($0) }
    for first in 0..<4 {
      for count in 0...(256 - first) {
        let bytes = all[first..<(first + count)]
        let digits = text { writer in
          Array(bytes).withUnsafeBytes { writer.appendHex($0) }
        }
        let wanted = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(digits == wanted)
      }
    }
  }

  @Test func uuidIsHyphenated() {
    let uuid = text { writer in
      hex("00112233445566778899AABBCCDDEEFF").withUnsafeBytes { writer.appendUUID($0) }
    }
    #expect(uuid == "00112233-4455-6677-8899-aabbccddeeff")
  }
}
