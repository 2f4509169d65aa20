import BSON
import Cryptography

// Renaming and redacting while a body is written.
extension MappingPlan {
  func write(
    key: UnsafeRawBufferPointer, below state: FilterState, into: inout ByteWriter
  ) throws(BSONError) {
    guard state.change >= 0 else { return try into.appendJSONString(key) }
    var name = ByteWriter(capacity: key.count + 32)
    filters.append(key: key, below: state, to: &name)
    try into.appendJSONString(name.bytes)
  }

  /// `disambiguatedPaths`: the parts of each path that passes the filter, with renamed keys under their new
  /// names.
  func writeDisambiguated(
    _ paths: BSONView, _ state: FilterState, _ style: JSONStyle, into: inout ByteWriter
  ) throws(BSONError) {
    into.append(UInt8(ascii: "{"))
    var first = true
    var hidden = HiddenPaths()
    var walk = paths.elements()
    while let element = try walk.next() {
      if filters.step(state, key: element.key, inArray: false).isDropped { continue }
      var path = element.key
      if let length = filters.redactedLength(of: path, below: state), length < path.count {
        path = UnsafeRawBufferPointer(rebasing: path[..<length])
        // What is left of it may be read in one way only, or be there already.
        guard try isAmbiguous(element, upTo: length), hidden.insert(path) else { continue }
      }
      if !first { into.append(UInt8(ascii: ",")) }
      first = false
      try write(key: path, below: state, into: &into)
      into.append(UInt8(ascii: ":"))
      guard state.change >= 0, let parts = element.document else {
        try into.appendJSON(value: element, style: style)
        continue
      }
      try writeParts(parts, upTo: path.count, state, style, into: &into)
    }
    into.append(UInt8(ascii: "}"))
  }

  /// Whether one of the parts that are shown is a number, or holds dots.
  private func isAmbiguous(_ path: BSONElement, upTo length: Int) throws(BSONError) -> Bool {
    guard var walk = path.document?.elements() else { return true }
    var left = length
    while left >= 0, let part = try walk.next() {
      guard let text = part.string, !FilterTrees.isIndex(text) else { return true }
      if text.prefix(left).contains(UInt8(ascii: ".")) { return true }
      left -= text.count + 1
    }
    return false
  }

  /// The parts of one path: names, and indexes of arrays as numbers.
  /// - Parameter length: how much of the path may be shown.
  private func writeParts(
    _ parts: BSONView, upTo length: Int, _ state: FilterState, _ style: JSONStyle,
    into: inout ByteWriter
  ) throws(BSONError) {
    into.append(UInt8(ascii: "["))
    var first = true
    var place = state
    var name = ByteWriter(capacity: 64)
    var walk = parts.elements()
    var left = length
    while left >= 0, let part = try walk.next() {
      if !first { into.append(UInt8(ascii: ",")) }
      first = false
      name.removeAll()
      if let whole = part.string {
        let text = UnsafeRawBufferPointer(rebasing: whole.prefix(left))
        left -= whole.count + 1
        try write(key: text, below: place, into: &into)
        place = filters.step(place, key: text, inArray: false)
      } else {
        try into.appendJSON(value: part, style: style)
        if let index = part.integer { name.append(decimal: index) }
        left -= name.count + 1
        place = filters.step(place, key: name.bytes, inArray: true)
      }
    }
    into.append(UInt8(ascii: "]"))
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

  /// What replaces a value. Null has nothing to hide.
  func write(
    _ element: BSONElement, redacted: Redaction, into: inout ByteWriter
  ) throws(BSONError) {
    if element.type == .null { return into.append("null") }
    guard redacted == .hash, let redactionKey else { return into.append("\"***\"") }
    // A hash takes microseconds, and an array may have a million values.
    if into.isBeyondLimit() { throw BSONError(.truncated, at: 0) }
    if element.type == .string, let text = element.string {
      append(hashOf: text, under: redactionKey, into: &into)
    } else {
      var json = ByteWriter(capacity: 256)
      try json.appendJSON(value: element, style: .simplified)
      append(hashOf: json.bytes, under: redactionKey, into: &into)
    }
  }

  private func append(
    hashOf bytes: UnsafeRawBufferPointer, under key: HMACKey, into: inout ByteWriter
  ) {
    into.append(UInt8(ascii: "\""))
    key.withCode(of: bytes) { into.appendHex($0) }
    into.append(UInt8(ascii: "\""))
  }
}
