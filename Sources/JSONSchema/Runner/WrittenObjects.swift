import BSON

// Values that are objects in JSON but not in BSON: timestamps, and nearly everything in Extended
// JSON. They are written by the JSON writer and read back as a document of plain types, so that
// exactly what is written is validated.

extension Runner {
  /// The value's JSON object as a document in `memory`; nil after a fault.
  @inline(never)
  func writtenDocument(
    _ type: BSONType, _ value: Bytes, _ memory: inout ByteWriter
  ) -> Bytes? {
    guard charge(16 &+ value.count &>> 1) else { return nil }
    memory.removeAll()
    state.pointee.plainText.removeAll()
    let element = BSONElement(type: type, key: Bytes(start: nil, count: 0), value: value)
    do throws(BSONError) {
      try state.pointee.plainText.appendJSON(value: element, style: state.pointee.style)
    } catch {
      _ = fail(.corrupt(error))
      return nil
    }
    do throws(PlainJSONError) {
      try memory.append(documentOf: state.pointee.plainText.bytes)
    } catch {
      _ = fail(.tooDeep)
      return nil
    }
    return memory.bytes
  }
}
