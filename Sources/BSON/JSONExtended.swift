extension ByteWriter {
  /// Writes a value in MongoDB Extended JSON v2, canonical or relaxed.
  mutating func appendExtended(
    _ element: BSONElement, _ style: JSONStyle, in view: UnsafeRawBufferPointer, depth: Int
  ) throws(BSONError) {
    let value = element.value
    let isCanonical = style == .canonical
    switch element.type {
    case .string: try append(text: element.text, in: view)
    case .bool: value.readByte(at: 0) == 1 ? append("true") : append("false")
    case .null: append("null")
    case .document, .array:
      guard let document = element.document else { throw BSONError(.truncated, at: 0) }
      try append(
        nested: document, isArray: element.type == .array, style, in: view, depth: depth)

    case .int32:
      if isCanonical { append("{\"$numberInt\":\"") }
      append(decimal: Int64(value.readInt32(at: 0)))
      if isCanonical { append("\"}") }
    case .int64:
      if isCanonical { append("{\"$numberLong\":\"") }
      append(decimal: value.readInt64(at: 0))
      if isCanonical { append("\"}") }
    case .double:
      let double = value.readDouble(at: 0)
      let isBare = !isCanonical && double.isFinite
      if !isBare { append("{\"$numberDouble\":\"") }
      append(shortest: double)
      if !isBare { append("\"}") }
    case .decimal128:
      append("{\"$numberDecimal\":\"")
      appendDecimal128(value)
      append("\"}")

    case .date:
      let milliseconds = value.readInt64(at: 0)
      // Relaxed uses the readable form for the years 1970 to 9999.
      if !isCanonical, milliseconds >= 0, ISODate.range.contains(milliseconds) {
        append("{\"$date\":\"")
        appendISODate(milliseconds: milliseconds, alwaysFraction: false)
        append("\"}")
      } else {
        append("{\"$date\":{\"$numberLong\":\"")
        append(decimal: milliseconds)
        append("\"}}")
      }
    case .timestamp:
      append("{\"$timestamp\":")
      appendTimestamp(value)
      append("}")

    case .objectID: appendObjectID(value)
    case .binary:
      guard let binary = element.binary else { throw BSONError(.truncated, at: 0) }
      append("{\"$binary\":{\"base64\":\"")
      appendBase64(binary.bytes)
      append("\",\"subType\":\"")
      appendHex(binary.subtype)
      append("\"}}")
    case .regex:
      guard let regex = element.regex else { throw BSONError(.missingTerminator, at: 0) }
      append("{\"$regularExpression\":{\"pattern\":")
      try append(text: regex.pattern, in: view)
      append(",\"options\":")
      try append(options: regex.options, in: view)
      append("}}")

    case .javascript:
      append("{\"$code\":")
      try append(text: element.text, in: view)
      append("}")
    case .javascriptWithScope:
      guard let code = element.codeWithScope else { throw BSONError(.truncated, at: 0) }
      append("{\"$code\":")
      try append(text: code.code, in: view)
      append(",\"$scope\":")
      try append(nested: code.scope, isArray: false, style, in: view, depth: depth)
      append("}")
    case .symbol:
      append("{\"$symbol\":")
      try append(text: element.text, in: view)
      append("}")
    case .dbPointer:
      guard let pointer = element.dbPointer else { throw BSONError(.truncated, at: 0) }
      append("{\"$dbPointer\":{\"$ref\":")
      try append(text: pointer.namespace, in: view)
      append(",\"$id\":")
      appendObjectID(pointer.id)
      append("}}")
    case .undefined: append("{\"$undefined\":true}")
    case .minKey: append("{\"$minKey\":1}")
    case .maxKey: append("{\"$maxKey\":1}")
    }
  }

  private mutating func appendObjectID(_ id: UnsafeRawBufferPointer) {
    append("{\"$oid\":\"")
    appendHex(id)
    append("\"}")
  }
}
