import BSON
import JSON

/// BSON as the JSON value that is written for it, for explaining.
enum InstanceValue {
  static func value(
    _ element: BSONElement, _ style: JSONStyle, depth: Int = 0
  ) throws(SchemaFault) -> JSONValue {
    switch element.type {
    case .document, .array:
      guard depth < BSONView.maximumDepth else { throw .tooDeep }
      guard let document = element.document else { throw .corrupt(BSONError(.truncated, at: 0)) }
      let members = try members(document, style, depth: depth)
      return element.type == .array ? .array(members.map(\.value)) : .object(members)
    default:
      return try written(element, style)
    }
  }

  static func value(
    _ members: UnsafeBufferPointer<BSONElement>, _ style: JSONStyle
  ) throws(SchemaFault) -> JSONValue {
    var list: [JSONValue.Member] = []
    for member in members { list.append(try self.member(member, style, depth: 1)) }
    return .object(list)
  }

  private static func members(
    _ document: BSONView, _ style: JSONStyle, depth: Int
  ) throws(SchemaFault) -> [JSONValue.Member] {
    var list: [JSONValue.Member] = []
    var elements = document.elements()
    while true {
      let next: BSONElement?
      do throws(BSONError) {
        next = try elements.next()
      } catch {
        throw .corrupt(error)
      }
      guard let next else { return list }
      list.append(try member(next, style, depth: depth + 1))
    }
  }

  private static func member(
    _ element: BSONElement, _ style: JSONStyle, depth: Int
  ) throws(SchemaFault) -> JSONValue.Member {
    guard let key = String(validating: element.key, as: UTF8.self) else { throw .invalidUTF8 }
    return JSONValue.Member(key, try value(element, style, depth: depth))
  }

  /// By the writer itself.
  private static func written(
    _ element: BSONElement, _ style: JSONStyle
  ) throws(SchemaFault) -> JSONValue {
    var writer = ByteWriter(capacity: 64)
    do throws(BSONError) {
      try writer.appendJSON(value: element, style: style)
    } catch {
      throw error.reason == .invalidUTF8 ? .invalidUTF8 : .corrupt(error)
    }
    do throws(JSONError) {
      return try JSONValue(parsing: writer.bytes)
    } catch {
      // The writer writes JSON; only its depth may be too much.
      throw .tooDeep
    }
  }
}
