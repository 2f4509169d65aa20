// Building BSON in a `ByteWriter`.
//
//     let document = writer.beginDocument()
//     writer.append(key: "n", int32: 1)
//     let inner = writer.beginArray(key: "list")
//     writer.append(index: 0, string: "a")
//     writer.endDocument(inner)
//     writer.endDocument(document)
//
// Every `begin` returns a mark for the matching `endDocument`, innermost first. Source bytes must not
// be in the writer itself: it moves its bytes when it grows.
//
// A NUL byte ends a key, so a key that contains one is a programming error and traps. Keys read from
// BSON never contain one.

extension ByteWriter {
  /// Starts a document: four bytes for its length, filled in by `endDocument`.
  @inlinable
  public mutating func beginDocument() -> Int { appendPlaceholder(4, fill: 0) }

  /// Closes the document or array of `mark`. Traps beyond 2 GiB, BSON's limit.
  @inlinable
  public mutating func endDocument(_ mark: Int) {
    append(0 as UInt8)
    patch(littleEndian: Int32(count &- mark), at: mark)
  }

  /// Closes code with scope, begun like a document: its length is counted alike, but it has no final NUL.
  mutating func endCodeWithScope(_ mark: Int) {
    patch(littleEndian: Int32(count &- mark), at: mark)
  }

  /// Starts a document in the open one.
  @inlinable
  public mutating func beginDocument(key: UnsafeRawBufferPointer) -> Int {
    appendHeader(.document, key: key)
    return beginDocument()
  }

  @inlinable
  public mutating func beginDocument(key: StaticString) -> Int {
    beginDocument(key: key.utf8)
  }

  /// Starts a document in the open array.
  @inlinable
  public mutating func beginDocument(index: Int) -> Int {
    appendHeader(.document, index: index)
    return beginDocument()
  }

  /// Starts an array in the open document; its keys are "0", "1", …
  @inlinable
  public mutating func beginArray(key: UnsafeRawBufferPointer) -> Int {
    appendHeader(.array, key: key)
    return beginDocument()
  }

  @inlinable
  public mutating func beginArray(key: StaticString) -> Int { beginArray(key: key.utf8) }

  /// Starts an array in the open array.
  @inlinable
  public mutating func beginArray(index: Int) -> Int {
    appendHeader(.array, index: index)
    return beginDocument()
  }

  // MARK: Elements

  /// Copies an element.
  @inlinable
  public mutating func append(element: BSONElement) {
    append(element: element, key: element.key)
  }

  /// Copies an element's value under another key.
  @inlinable
  public mutating func append(element: BSONElement, key: UnsafeRawBufferPointer) {
    appendHeader(element.type, key: key)
    append(element.value)
  }

  @inlinable
  public mutating func append(element: BSONElement, key: StaticString) {
    append(element: element, key: key.utf8)
  }

  /// Copies an element's value into the open array.
  @inlinable
  public mutating func append(element: BSONElement, index: Int) {
    appendHeader(element.type, index: index)
    append(element.value)
  }

  /// Writes an element whose value is encoded already. The caller ensures that it is valid.
  @inlinable
  public mutating func appendElement(
    type: BSONType, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
  ) {
    appendHeader(type, key: key)
    append(value)
  }

  @inlinable
  public mutating func append(key: UnsafeRawBufferPointer, document: BSONView) {
    appendElement(type: .document, key: key, value: document.bytes)
  }

  @inlinable
  public mutating func append(key: StaticString, document: BSONView) {
    append(key: key.utf8, document: document)
  }

  @inlinable
  public mutating func append(key: UnsafeRawBufferPointer, int32 value: Int32) {
    appendHeader(.int32, key: key)
    append(littleEndian: value)
  }

  @inlinable
  public mutating func append(key: StaticString, int32 value: Int32) {
    append(key: key.utf8, int32: value)
  }

  @inlinable
  public mutating func append(key: UnsafeRawBufferPointer, int64 value: Int64) {
    appendHeader(.int64, key: key)
    append(littleEndian: value)
  }

  @inlinable
  public mutating func append(key: StaticString, int64 value: Int64) {
    append(key: key.utf8, int64: value)
  }

  @inlinable
  public mutating func append(key: UnsafeRawBufferPointer, double value: Double) {
    appendHeader(.double, key: key)
    append(littleEndian: Int64(bitPattern: value.bitPattern))
  }

  @inlinable
  public mutating func append(key: StaticString, double value: Double) {
    append(key: key.utf8, double: value)
  }

  @inlinable
  public mutating func append(key: UnsafeRawBufferPointer, bool value: Bool) {
    appendHeader(.bool, key: key)
    append(value ? 1 : 0 as UInt8)
  }

  @inlinable
  public mutating func append(key: StaticString, bool value: Bool) {
    append(key: key.utf8, bool: value)
  }

  /// `date` in milliseconds since 1970.
  @inlinable
  public mutating func append(key: UnsafeRawBufferPointer, date value: Int64) {
    appendHeader(.date, key: key)
    append(littleEndian: value)
  }

  @inlinable
  public mutating func append(key: StaticString, date value: Int64) {
    append(key: key.utf8, date: value)
  }

  /// A BSON timestamp, the oplog's clock.
  @inlinable
  public mutating func append(
    key: UnsafeRawBufferPointer, timestamp seconds: UInt32, increment: UInt32
  ) {
    appendHeader(.timestamp, key: key)
    append(littleEndian: Int64(bitPattern: UInt64(seconds) << 32 | UInt64(increment)))
  }

  @inlinable
  public mutating func append(key: StaticString, timestamp seconds: UInt32, increment: UInt32) {
    append(key: key.utf8, timestamp: seconds, increment: increment)
  }

  /// `bytes` should be UTF-8 and may contain NUL.
  @inlinable
  public mutating func append(key: UnsafeRawBufferPointer, string bytes: UnsafeRawBufferPointer) {
    appendHeader(.string, key: key)
    appendStringValue(bytes)
  }

  @inlinable
  public mutating func append(key: StaticString, string bytes: UnsafeRawBufferPointer) {
    append(key: key.utf8, string: bytes)
  }

  @inlinable
  public mutating func append(key: StaticString, string: StaticString) {
    append(key: key.utf8, string: string.utf8)
  }

  @inlinable
  public mutating func append(key: UnsafeRawBufferPointer, string: StaticString) {
    append(key: key, string: string.utf8)
  }

  /// A string in the open array.
  @inlinable
  public mutating func append(index: Int, string bytes: UnsafeRawBufferPointer) {
    appendHeader(.string, index: index)
    appendStringValue(bytes)
  }

  @inlinable
  public mutating func append(index: Int, string: StaticString) {
    append(index: index, string: string.utf8)
  }

  @inlinable
  public mutating func appendNull(key: UnsafeRawBufferPointer) { appendHeader(.null, key: key) }

  @inlinable
  public mutating func appendNull(key: StaticString) { appendHeader(.null, key: key.utf8) }

  // MARK: Parts

  /// Type byte, key, NUL: the header of every element.
  @inlinable
  public mutating func appendHeader(_ type: BSONType, key: UnsafeRawBufferPointer) {
    precondition(!key.contains(0), "a BSON key cannot hold a NUL byte")
    append(type.rawValue)
    append(key)
    append(0 as UInt8)
  }

  /// The header of an array element.
  @inlinable
  public mutating func appendHeader(_ type: BSONType, index: Int) {
    append(type.rawValue)
    append(decimal: UInt64(index))
    append(0 as UInt8)
  }

  /// Length, bytes, NUL: the value of a string, code or symbol.
  @inlinable
  public mutating func appendStringValue(_ bytes: UnsafeRawBufferPointer) {
    append(littleEndian: Int32(bytes.count &+ 1))
    append(bytes)
    append(0 as UInt8)
  }
}
