internal import JSON

// The wrapper objects of Extended JSON.
extension ExtendedJSONReader {
  /// Whether some reader of Extended JSON may mistake a document with this key, alone or with others, for a
  /// wrapper.
  static func isReserved(_ key: UnsafeRawBufferPointer) -> Bool {
    guard key.count > 3, key[0] == UInt8(ascii: "$") else { return false }
    return reserved.contains(String(decoding: key, as: UTF8.self))
  }

  private static let reserved: Set<String> = [
    "$oid", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal", "$date", "$timestamp",
    "$binary", "$uuid", "$regularExpression", "$regex", "$symbol", "$code", "$dbPointer", "$minKey",
    "$maxKey", "$undefined",
  ]

  /// An object with one member. Writes nothing of the value on an error.
  mutating func single(
    _ key: [UInt8], _ member: JSONValue.Member
  ) throws(ExtendedJSON.Malformed) -> Bool {
    let value = member.value
    switch member.key {
    case "$oid":
      let bytes = try hex(value, count: 12, "$oid")
      header(.objectID, key)
      out.append(bytes)
    case "$numberInt":
      guard let number = value.stringValue.flatMap({ Int32($0) }) else {
        throw fail("$numberInt needs a string with a 32-bit integer")
      }
      header(.int32, key)
      out.append(littleEndian: number)
    case "$numberLong": int64(.int64, key, try long(value))
    case "$numberDouble": try double(key, value)
    case "$numberDecimal":
      guard let text = value.stringValue, let decimal = Decimal128Bits(parsing: text) else {
        throw fail("$numberDecimal needs a string with a decimal of at most 34 digits")
      }
      header(.decimal128, key)
      out.append(littleEndian: Int64(bitPattern: decimal.low))
      out.append(littleEndian: Int64(bitPattern: decimal.high))
    case "$date": try date(key, value)
    case "$timestamp": try timestamp(key, value)
    case "$binary":
      guard let base64 = value["base64"]?.stringValue, let subtype = value["subType"]?.stringValue
      else { throw fail("$binary needs base64 and subType") }
      try binary(key, base64, subtype)
    case "$uuid":
      let text = value.stringValue?.filter { $0 != "-" }
      let bytes = try hex(text.map { .string($0) } ?? .null, count: 16, "$uuid")
      binary(key, bytes, subtype: 4)
    case "$regularExpression":
      guard let pattern = value["pattern"]?.stringValue, let options = value["options"]?.stringValue
      else { throw fail("$regularExpression needs pattern and options") }
      try regex(key, pattern, options)
    case "$symbol":
      guard let text = value.stringValue else { throw fail("$symbol needs a string") }
      string(.symbol, key, text)
    case "$code":
      guard let text = value.stringValue else { throw fail("$code needs a string") }
      string(.javascript, key, text)
    case "$dbPointer":
      guard let name = value["$ref"]?.stringValue, let id = value["$id"]?["$oid"] else {
        throw fail("$dbPointer needs $ref and $id")
      }
      let bytes = try hex(id, count: 12, "$dbPointer")
      string(.dbPointer, key, name)
      out.append(bytes)
    case "$minKey", "$maxKey":
      guard value.integer() == 1 else { throw fail("\(member.key) needs the number 1") }
      header(member.key == "$minKey" ? .minKey : .maxKey, key)
    case "$undefined":
      guard case .bool(true) = value else { throw fail("$undefined needs true") }
      header(.undefined, key)
    default: return false
    }
    return true
  }

  /// Two members in any order.
  private struct Pair {
    var members: [JSONValue.Member]

    init(_ members: [JSONValue.Member]) { self.members = members }

    func text(_ key: String) -> String? { value(key)?.stringValue }

    func value(_ key: String) -> JSONValue? { members.first { $0.key == key }?.value }
  }

  mutating func double(
    _ key: [UInt8], _ members: [JSONValue.Member], _ dialect: ExtendedJSON.Dialect
  ) throws(ExtendedJSON.Malformed) -> Bool {
    let pair = Pair(members)
    if let code = pair.text("$code"), case .object(let scope)? = pair.value("$scope") {
      header(.javascriptWithScope, key)
      let start = out.beginDocument()
      append(code)
      try document(scope)
      out.endCodeWithScope(start)
      return true
    }
    if dialect == .printed { return false }
    // Before Extended JSON v2.
    if let base64 = pair.text("$binary"), let subtype = pair.text("$type") {
      try binary(key, base64, subtype)
      return true
    }
    if let pattern = pair.text("$regex"), let options = pair.text("$options") {
      try regex(key, pattern, options)
      return true
    }
    return false
  }

  // MARK: Values

  private func hex(
    _ value: JSONValue, count: Int, _ name: String
  ) throws(ExtendedJSON.Malformed) -> [UInt8] {
    let digits = Array((value.stringValue ?? "").utf8)
    let values = digits.compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
    guard digits.count == count * 2, values.count == digits.count else {
      throw fail("\(name) needs a string of \(count * 2) hexadecimal digits")
    }
    return (0..<count).map { UInt8(values[$0 * 2] << 4 | values[$0 * 2 + 1]) }
  }

  private func long(_ value: JSONValue) throws(ExtendedJSON.Malformed) -> Int64 {
    guard let number = value.stringValue.flatMap({ Int64($0) }) else {
      throw fail("$numberLong needs a string with a 64-bit integer")
    }
    return number
  }

  private mutating func double(
    _ key: [UInt8], _ value: JSONValue
  ) throws(ExtendedJSON.Malformed) {
    switch value.stringValue {
    case "Infinity"?: double(key, .infinity)
    case "-Infinity"?: double(key, -.infinity)
    case "NaN"?: double(key, .nan)
    case let text?:
      guard text.utf8.first.map({ $0 == UInt8(ascii: "-") || (48...57).contains($0) }) == true,
        let number = Double(text)
      else { throw fail("\(text) is not a number") }
      double(key, number)
    case nil: throw fail("$numberDouble needs a string")
    }
  }

  private mutating func date(
    _ key: [UInt8], _ value: JSONValue
  ) throws(ExtendedJSON.Malformed) {
    let milliseconds: Int64?
    switch value {
    case .string(let text): milliseconds = ISODate.milliseconds(parsing: text)
    case .number: milliseconds = value.integer()
    case .object(let members) where members.count == 1 && members[0].key == "$numberLong":
      milliseconds = try long(members[0].value)
    default: milliseconds = nil
    }
    guard let milliseconds else {
      throw fail("$date needs a date like 2024-11-23T11:06:40.123Z, or {\"$numberLong\": …}")
    }
    int64(.date, key, milliseconds)
  }

  private mutating func timestamp(
    _ key: [UInt8], _ value: JSONValue
  ) throws(ExtendedJSON.Malformed) {
    guard let seconds = value["t"]?.integer(UInt32.self),
      let increment = value["i"]?.integer(UInt32.self)
    else { throw fail("$timestamp needs t and i, numbers of 32 bits") }
    int64(.timestamp, key, Int64(bitPattern: UInt64(seconds) << 32 | UInt64(increment)))
  }

  private mutating func binary(
    _ key: [UInt8], _ base64: String, _ subtype: String
  ) throws(ExtendedJSON.Malformed) {
    guard let bytes = Base64.decode(base64) else { throw fail("$binary's text is not base64") }
    guard let subtype = UInt8(subtype, radix: 16) else {
      throw fail("$binary's type is not a hexadecimal byte")
    }
    binary(key, bytes, subtype: subtype)
  }

  private mutating func binary(_ key: [UInt8], _ bytes: [UInt8], subtype: UInt8) {
    header(.binary, key)
    // Subtype 2 has a second length inside.
    let inner = subtype == 2
    out.append(littleEndian: Int32(truncatingIfNeeded: bytes.count + (inner ? 4 : 0)))
    out.append(subtype)
    if inner { out.append(littleEndian: Int32(truncatingIfNeeded: bytes.count)) }
    out.append(bytes)
  }

  private mutating func regex(
    _ key: [UInt8], _ pattern: String, _ options: String
  ) throws(ExtendedJSON.Malformed) {
    guard !pattern.utf8.contains(0), !options.utf8.contains(0) else {
      throw fail("a regular expression can't contain a NUL byte")
    }
    header(.regex, key)
    out.append(pattern)
    out.append(UInt8(0))
    out.append(options)
    out.append(UInt8(0))
  }
}
