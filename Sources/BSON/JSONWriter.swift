/// How BSON types are represented in JSON. See the table in `docs/types.md`.
@frozen
public enum JSONStyle: UInt8, Sendable {
  /// Plain values, with ids and dates as strings, for consumers without BSON.
  case simplified
  /// MongoDB Extended JSON v2, relaxed: readable numbers and dates, other types with wrappers.
  case relaxed
  /// MongoDB Extended JSON v2, canonical: preserves every type.
  case canonical
}

/// Writes BSON as compact JSON in one pass, with the order and repetition of keys. Allocates only the
/// writer's own memory. An error leaves the writer unchanged.
extension ByteWriter {
  /// Writes a document as a JSON object.
  /// - Throws: for an invalid element, invalid UTF-8, or nesting beyond `BSONView.maximumDepth`, with the
  ///   offset in `document`.
  public mutating func appendJSON(
    _ document: BSONView, style: JSONStyle
  ) throws(BSONError) {
    let start = count
    do throws(BSONError) {
      try appendObject(document, style, depth: 1)
    } catch {
      truncate(to: start)
      throw error
    }
  }

  /// Writes an array (a document whose keys are ignored) as a JSON array. Throws as `appendJSON`.
  public mutating func appendJSONArray(
    _ array: BSONView, style: JSONStyle
  ) throws(BSONError) {
    let start = count
    do throws(BSONError) {
      try appendArray(array, style, depth: 1)
    } catch {
      truncate(to: start)
      throw error
    }
  }

  /// Writes an element's value without its key. Throws as `appendJSON`, with the offset in the value.
  public mutating func appendJSON(
    value element: BSONElement, style: JSONStyle
  ) throws(BSONError) {
    let start = count
    do throws(BSONError) {
      try appendValue(element, style, in: element.value, depth: 0)
    } catch {
      truncate(to: start)
      throw error
    }
  }
}

// Below, error offsets count from the start of `view`, and `depth` is the number of open documents.
extension ByteWriter {
  private mutating func appendObject(
    _ document: BSONView, _ style: JSONStyle, depth: Int
  ) throws(BSONError) {
    guard depth <= BSONView.maximumDepth else { throw BSONError(.tooDeep, at: 0) }
    var walk = document.elements()
    var separator = UInt8(ascii: "{")
    while let element = try walk.step() {
      if let wrong = appendKey(element.key, in: document.bytes, separator: separator) {
        throw BSONError(.invalidUTF8, at: element.key.offset(in: document.bytes) + wrong)
      }
      separator = UInt8(ascii: ",")
      try appendValue(element, style, in: document.bytes, depth: depth)
    }
    if separator == UInt8(ascii: "{") { append(separator) }
    append(UInt8(ascii: "}"))
  }

  private mutating func appendArray(
    _ array: BSONView, _ style: JSONStyle, depth: Int
  ) throws(BSONError) {
    guard depth <= BSONView.maximumDepth else { throw BSONError(.tooDeep, at: 0) }
    var walk = array.elements()
    var separator = UInt8(ascii: "[")
    while let element = try walk.step() {
      append(separator)
      separator = UInt8(ascii: ",")
      try appendValue(element, style, in: array.bytes, depth: depth)
    }
    if separator == UInt8(ascii: "[") { append(separator) }
    append(UInt8(ascii: "]"))
  }

  @inline(__always)
  private mutating func appendValue(
    _ element: BSONElement, _ style: JSONStyle, in view: UnsafeRawBufferPointer, depth: Int
  ) throws(BSONError) {
    // Strings, the most common type, are the same in all styles.
    if element.type == .string { return try append(text: element.text, in: view) }
    switch style {
    case .simplified: try appendSimplified(element, in: view, depth: depth)
    case .relaxed, .canonical: try appendExtended(element, style, in: view, depth: depth)
    }
  }

  /// A document or array inside `view`.
  mutating func append(
    nested document: BSONView, isArray: Bool, _ style: JSONStyle, in view: UnsafeRawBufferPointer,
    depth: Int
  ) throws(BSONError) {
    do throws(BSONError) {
      if isArray {
        try appendArray(document, style, depth: depth &+ 1)
      } else {
        try appendObject(document, style, depth: depth &+ 1)
      }
    } catch {
      throw error.moved(by: document.bytes.offset(in: view))
    }
  }

  /// A JSON string from text inside `view`.
  mutating func append(
    text: UnsafeRawBufferPointer, in view: UnsafeRawBufferPointer
  ) throws(BSONError) {
    if let wrong = appendQuoted(text, in: view) {
      throw BSONError(.invalidUTF8, at: text.offset(in: view) + wrong)
    }
  }

  /// A regular expression's options as a JSON string, sorted alphabetically as BSON requires.
  mutating func append(
    options: UnsafeRawBufferPointer, in view: UnsafeRawBufferPointer
  ) throws(BSONError) {
    var isSorted = true
    for (option, next) in zip(options, options.dropFirst()) where option > next {
      isSorted = false
    }
    guard !isSorted, options.allSatisfy({ $0 < 0x80 }) else {
      return try append(text: options, in: view)
    }
    append(UInt8(ascii: "\""))
    for option in 0x01...0x7F as ClosedRange<UInt8> {
      for each in options where each == option { appendJSONCharacter(each) }
    }
    append(UInt8(ascii: "\""))
  }
}

extension UnsafeRawBufferPointer {
  /// The offset of these bytes in `whole`, which contains them. Only for errors.
  func offset(in whole: UnsafeRawBufferPointer) -> Int {
    guard let start = baseAddress, let origin = whole.baseAddress else { return 0 }
    return start - origin
  }
}
