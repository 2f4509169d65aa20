/// How BSON's types are told in JSON. `docs/types.md` has the table.
@frozen
public enum JSONStyle: UInt8, Sendable {
  /// Plain values, for consumers that know nothing of BSON: ids and dates as strings.
  case simplified
  /// MongoDB Extended JSON v2, relaxed: numbers and dates in readable form, types where needed.
  case relaxed
  /// MongoDB Extended JSON v2, canonical: every type is kept.
  case canonical
}

/// BSON to JSON, compact, in one pass over the bytes. Order and repetition of keys stay. Nothing
/// is allocated besides the writer's own memory. On error the writer is as it was before the call.
extension ByteWriter {
  /// Writes a document as a JSON object.
  /// - Throws: what is wrong with the bytes, with the offset in `document`: any broken element,
  ///   text that isn't UTF-8, nesting beyond `BSONView.maximumDepth`.
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

  /// Writes an array (a document whose keys don't matter) as a JSON array. Throws as `appendJSON`.
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

  /// Writes the value of an element, without its key. Throws as `appendJSON`, with the offset in
  /// the element's value.
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

// Below, `view` is what offsets in errors count from, and `depth` the number of documents open.
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
    // The most common type is the same in all styles.
    if element.type == .string { return try append(text: element.text, in: view) }
    switch style {
    case .simplified: try appendSimplified(element, in: view, depth: depth)
    case .relaxed, .canonical: try appendExtended(element, style, in: view, depth: depth)
    }
  }

  /// A document or array within `view`.
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

  /// A JSON string from text within `view`.
  mutating func append(
    text: UnsafeRawBufferPointer, in view: UnsafeRawBufferPointer
  ) throws(BSONError) {
    if let wrong = appendQuoted(text, in: view) {
      throw BSONError(.invalidUTF8, at: text.offset(in: view) + wrong)
    }
  }

  /// A regular expression's options as a JSON string, in alphabetical order as BSON asks of them,
  /// whatever order they were stored in.
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
  /// Where these bytes stand in `whole`, which they are a part of. Only for errors.
  func offset(in whole: UnsafeRawBufferPointer) -> Int {
    guard let start = baseAddress, let origin = whole.baseAddress else { return 0 }
    return start - origin
  }
}
