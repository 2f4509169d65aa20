extension ByteWriter {
  /// Writes a value by its `SimplifiedForm`.
  mutating func appendSimplified(
    _ element: BSONElement, in view: UnsafeRawBufferPointer, depth: Int
  ) throws(BSONError) {
    let value = element.value
    switch element.simplifiedForm {
    case .text: try append(text: element.text, in: view)
    case .integer:
      append(
        decimal: element.type == .int32 ? Int64(value.readInt32(at: 0)) : value.readInt64(at: 0))
    case .number: append(shortest: value.readDouble(at: 0))
    case .boolean: value.readByte(at: 0) == 1 ? append("true") : append("false")
    case .null: append("null")

    case .object, .array:
      guard let document = element.document else { throw BSONError(.truncated, at: 0) }
      try append(
        nested: document, isArray: element.type == .array, .simplified, in: view, depth: depth)

    case .objectID:
      append("\"")
      appendHex(value)
      append("\"")
    case .dateTime, .milliseconds:
      append("\"")
      appendISODate(milliseconds: value.readInt64(at: 0))
      append("\"")
    case .nonFiniteNumber:
      append("\"")
      append(shortest: value.readDouble(at: 0))
      append("\"")
    case .decimal:
      append("\"")
      appendDecimal128(value)
      append("\"")
    case .uuid:
      append("\"")
      appendUUID(UnsafeRawBufferPointer(rebasing: value[5...]))
      append("\"")
    case .base64:
      guard let binary = element.binary else { throw BSONError(.truncated, at: 0) }
      append("\"")
      appendBase64(binary.bytes)
      append("\"")

    case .timestamp: appendTimestamp(value)
    case .regex:
      guard let regex = element.regex else { throw BSONError(.missingTerminator, at: 0) }
      append("{\"pattern\":")
      try append(text: regex.pattern, in: view)
      append(",\"options\":")
      try append(options: regex.options, in: view)
      append("}")
    case .codeWithScope:
      guard let code = element.codeWithScope else { throw BSONError(.truncated, at: 0) }
      append("{\"code\":")
      try append(text: code.code, in: view)
      append(",\"scope\":")
      try append(nested: code.scope, isArray: false, .simplified, in: view, depth: depth)
      append("}")
    case .dbPointer:
      guard let pointer = element.dbPointer else { throw BSONError(.truncated, at: 0) }
      append("{\"$ref\":")
      try append(text: pointer.namespace, in: view)
      append(",\"$id\":\"")
      appendHex(pointer.id)
      append("\"}")
    case .minKey: append("{\"$minKey\":1}")
    case .maxKey: append("{\"$maxKey\":1}")
    }
  }

  /// `{"t":…,"i":…}`: seconds and increment, in all styles.
  mutating func appendTimestamp(_ value: UnsafeRawBufferPointer) {
    append("{\"t\":")
    append(decimal: UInt64(UInt32(bitPattern: value.readInt32(at: 4))))
    append(",\"i\":")
    append(decimal: UInt64(UInt32(bitPattern: value.readInt32(at: 0))))
    append("}")
  }

  /// A decimal from its 16 bytes.
  mutating func appendDecimal128(_ value: UnsafeRawBufferPointer) {
    appendDecimal128(
      high: UInt64(bitPattern: value.readInt64(at: 8)),
      low: UInt64(bitPattern: value.readInt64(at: 0)))
  }
}
