import BSON

/// A simple and slow implementation of BSON's grammar (bsonspec.org) that only accepts or rejects.
enum ReferenceReader {
  private struct Refused: Error {}

  static func accepts(_ document: [UInt8]) -> Bool {
    (try? read(document[...], depth: 1)) != nil
  }

  /// An accepted document has binary of subtype 2 with a wrong inner length: servers accept it, libbson
  /// doesn't.
  static func hasWrongOldBinary(_ document: [UInt8]) -> Bool {
    var isWrong = false
    try? read(document[...], depth: 1) { isWrong = true }
    return isWrong
  }

  private static func read(
    _ document: ArraySlice<UInt8>, depth: Int, _ onWrongBinary: () -> Void = {}
  ) throws {
    guard depth <= BSONView.maximumDepth, document.count >= 5,
      Int(try int32(document)) == document.count, document.last == 0
    else { throw Refused() }
    var rest = document.dropFirst(4)
    while rest.count > 1 {
      let type = BSONType(rawValue: rest.removeFirst())
      _ = try cString(&rest)
      guard let type else { throw Refused() }
      try value(type, &rest, depth: depth, onWrongBinary)
      guard !rest.isEmpty else { throw Refused() }
    }
  }

  private static func value(
    _ type: BSONType, _ rest: inout ArraySlice<UInt8>, depth: Int, _ onWrongBinary: () -> Void
  ) throws {
    switch type {
    case .null, .undefined, .minKey, .maxKey: break
    case .bool: guard try take(1, &rest).allSatisfy({ $0 <= 1 }) else { throw Refused() }
    case .int32: _ = try take(4, &rest)
    case .double, .date, .timestamp, .int64: _ = try take(8, &rest)
    case .objectID: _ = try take(12, &rest)
    case .decimal128: _ = try take(16, &rest)
    case .string, .javascript, .symbol: try string(&rest)
    case .dbPointer:
      try string(&rest)
      _ = try take(12, &rest)
    case .regex:
      _ = try cString(&rest)
      _ = try cString(&rest)
    case .document, .array:
      try read(try take(Int(try int32(rest)), &rest), depth: depth + 1, onWrongBinary)
    case .binary:
      let count = Int(try int32(try take(4, &rest)))
      let isOld = try take(1, &rest) == [2]
      let payload = try take(count, &rest)
      if isOld, (try? int32(payload)).map(Int.init) != count - 4 { onWrongBinary() }
    case .javascriptWithScope:
      var whole = try take(Int(try int32(rest)), &rest)
      _ = try take(4, &whole)
      try string(&whole)
      try read(whole, depth: depth + 1, onWrongBinary)
    }
  }

  private static func string(_ rest: inout ArraySlice<UInt8>) throws {
    let count = Int(try int32(try take(4, &rest)))
    guard try take(count, &rest).last == 0 else { throw Refused() }
  }

  private static func cString(_ rest: inout ArraySlice<UInt8>) throws -> ArraySlice<UInt8> {
    guard let end = rest.firstIndex(of: 0) else { throw Refused() }
    return try take(end + 1 - rest.startIndex, &rest)
  }

  private static func take(_ count: Int, _ rest: inout ArraySlice<UInt8>) throws -> ArraySlice<
    UInt8
  > {
    guard count >= 0, count <= rest.count else { throw Refused() }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }

  private static func int32(_ bytes: ArraySlice<UInt8>) throws -> Int32 {
    guard bytes.count >= 4 else { throw Refused() }
    return bytes.prefix(4).reversed().reduce(0) { $0 << 8 | Int32($1) }
  }
}
