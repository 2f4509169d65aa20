import BSON
import Crypto

// Renaming and redacting while a body is written.
extension MappingPlan {
  func write(
    key: UnsafeRawBufferPointer, below state: FilterState, into: inout ByteWriter
  ) throws(BSONError) {
    guard state.change >= 0 else { return try into.appendJSONString(key) }
    var name = ByteWriter(capacity: key.count + 32)
    filters.append(key: key, below: state, inArray: false, to: &name)
    try into.appendJSONString(name.bytes)
  }

  /// An entry of `removedFields` (a name) or `truncatedArrays` (a document with one).
  func writeNamed(
    _ element: BSONElement, _ name: UnsafeRawBufferPointer, _ state: FilterState,
    _ style: JSONStyle,
    into: inout ByteWriter
  ) throws(BSONError) {
    guard let document = element.document else {
      return try write(key: name, below: state, into: &into)
    }
    into.append(UInt8(ascii: "{"))
    var first = true
    var walk = document.elements()
    while let member = try walk.next() {
      if !first { into.append(UInt8(ascii: ",")) }
      first = false
      try into.appendJSONString(member.key)
      into.append(UInt8(ascii: ":"))
      if member.key.equals("field") {
        try write(key: name, below: state, into: &into)
      } else {
        try into.appendJSON(value: member, style: style)
      }
    }
    into.append(UInt8(ascii: "}"))
  }

  /// What stands for a value. There is nothing to hide in null.
  func write(
    _ element: BSONElement, redacted: Redaction, into: inout ByteWriter
  ) throws(BSONError) {
    if element.type == .null { return into.append("null") }
    guard redacted == .hash, let redactionKey else { return into.append("\"***\"") }
    var code = HMAC<SHA256>(key: redactionKey)
    if element.type == .string, let text = element.string {
      code.update(data: text)
    } else {
      var json = ByteWriter(capacity: 256)
      try json.appendJSON(value: element, style: .simplified)
      code.update(data: json.bytes)
    }
    into.append(UInt8(ascii: "\""))
    code.finalize().withUnsafeBytes { into.appendHex($0) }
    into.append(UInt8(ascii: "\""))
  }
}
