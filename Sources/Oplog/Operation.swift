import BSON

/// An operation's `op`.
enum OperationKind {
  case insert, update, delete, command, noop
  /// Changes that aren't of documents: storage containers and global index keys (`ci cu cd xi xd`,
  /// which 7.0 and later write for internal use).
  case internalChange

  init(_ op: UnsafeRawBufferPointer) throws(OplogError) {
    switch op.count {
    case 1:
      switch op.readByte(at: 0) {
      case UInt8(ascii: "i"): self = .insert
      case UInt8(ascii: "u"): self = .update
      case UInt8(ascii: "d"): self = .delete
      case UInt8(ascii: "c"): self = .command
      case UInt8(ascii: "n"): self = .noop
      default: throw OplogError(.unknownOperation(String(decoding: op, as: UTF8.self)))
      }
    default:
      guard
        op.equals("ci") || op.equals("cu") || op.equals("cd") || op.equals("xi")
          || op.equals("xd")
      else { throw OplogError(.unknownOperation(String(decoding: op, as: UTF8.self))) }
      self = .internalChange
    }
  }
}

/// One operation in the oplog's format: a whole entry, or an element of an `applyOps`.
///
/// Read in one pass; unused fields (`stmtId`, `needsRetryImage`, `rid`, …) are skipped. The views point
/// into the entry's bytes.
struct Operation {
  var kind = OperationKind.noop
  var namespace: UnsafeRawBufferPointer?
  var collectionUUID: UnsafeRawBufferPointer?
  var object: BSONView?
  var object2: BSONView?
  var fromMigrate = false

  // Only of a whole entry.
  var position: OplogPosition?
  var term: Int64 = -1
  var wallTime: Int64?
  var lsid: BSONView?
  var txnNumber: Int64?
  /// `prevOpTime`: the previous write of the transaction or of the retryable writes. Nil for the first.
  var previous: OplogPosition?
  var multiOpType: Int64 = 0

  init() {}

  /// Reads the fields of `document`. Fields read before an error are kept: the error needs the position.
  mutating func read(_ document: BSONView) throws(OplogError) {
    var op: UnsafeRawBufferPointer?
    var walk = document.elements()
    while let element = try walk.nextInlined() {
      let key = element.key
      switch key.count {
      case 1:
        switch key.readByte(at: 0) {
        case UInt8(ascii: "o"): object = try element.requireDocument("o")
        case UInt8(ascii: "t"): term = try element.requireInteger("t")
        case UInt8(ascii: "v"):
          let version = try element.requireInteger("v")
          guard version <= 2 else { throw OplogError(.unsupportedVersion(version)) }
        default: break
        }
      case 2:
        switch (key.readByte(at: 0), key.readByte(at: 1)) {
        case (UInt8(ascii: "o"), UInt8(ascii: "p")): op = try element.requireString("op")
        case (UInt8(ascii: "o"), UInt8(ascii: "2")): object2 = try element.requireDocument("o2")
        case (UInt8(ascii: "n"), UInt8(ascii: "s")): namespace = try element.requireString("ns")
        case (UInt8(ascii: "u"), UInt8(ascii: "i")): collectionUUID = try element.requireUUID("ui")
        case (UInt8(ascii: "t"), UInt8(ascii: "s")): position = try element.requirePosition("ts")
        default: break
        }
      case 4:
        if key.equals("wall") {
          guard let date = element.date else { throw element.wrongType("wall") }
          wallTime = date
        } else if key.equals("lsid") {
          lsid = try element.requireDocument("lsid")
        }
      case 9:
        if key.equals("txnNumber") { txnNumber = try element.requireInteger("txnNumber") }
      case 10:
        if key.equals("prevOpTime") {
          let time = try element.requireDocument("prevOpTime")
          guard let ts = try time.element("ts") else {
            throw OplogError(.missingField("prevOpTime.ts"))
          }
          let position = try ts.requirePosition("prevOpTime.ts")
          previous = position.value == 0 ? nil : position
        }
      case 11:
        if key.equals("fromMigrate") {
          fromMigrate = try element.requireBool("fromMigrate")
        } else if key.equals("multiOpType") {
          multiOpType = try element.requireInteger("multiOpType")
        }
      default: break
      }
    }
    guard let op else { throw OplogError(.missingField("op")) }
    kind = try OperationKind(op)
  }

  /// The transaction (or retryable write) it belongs to, if any.
  var transaction: TransactionName? {
    guard let lsid, let txnNumber else { return nil }
    return TransactionName(lsid: lsid, number: txnNumber)
  }

  /// `o`, which every operation has.
  func requireObject() throws(OplogError) -> BSONView {
    guard let object else { throw OplogError(.missingField("o")) }
    return object
  }
}

// Reading with errors that name the field. These allocate only if they throw.

extension BSONElements {
  /// `advance()` with this module's error: for the loop that every entry takes.
  @inline(__always)
  mutating func nextInlined() throws(OplogError) -> BSONElement? {
    do { return try advance() } catch { throw OplogError(.corrupt(error)) }
  }

  /// `next()` with this module's error.
  @inline(__always)
  mutating func nextElement() throws(OplogError) -> BSONElement? {
    do { return try next() } catch { throw OplogError(.corrupt(error)) }
  }
}

extension BSONView {
  /// `first(_:)` with this module's error.
  func element(_ key: StaticString) throws(OplogError) -> BSONElement? {
    do { return try first(key) } catch { throw OplogError(.corrupt(error)) }
  }
}

extension BSONElement {
  func wrongType(_ field: StaticString) -> OplogError {
    OplogError(.wrongType(field: "\(field)", found: type))
  }

  @inline(__always)
  func requireDocument(_ field: StaticString) throws(OplogError) -> BSONView {
    guard type == .document, let document else { throw wrongType(field) }
    return document
  }

  @inline(__always)
  func requireString(_ field: StaticString) throws(OplogError) -> UnsafeRawBufferPointer {
    guard type == .string, let string else { throw wrongType(field) }
    return string
  }

  @inline(__always)
  func requireInteger(_ field: StaticString) throws(OplogError) -> Int64 {
    guard let integer else { throw wrongType(field) }
    return integer
  }

  @inline(__always)
  func requireBool(_ field: StaticString) throws(OplogError) -> Bool {
    guard let bool else { throw wrongType(field) }
    return bool
  }

  @inline(__always)
  func requirePosition(_ field: StaticString) throws(OplogError) -> OplogPosition {
    guard let timestamp else { throw wrongType(field) }
    return OplogPosition(seconds: timestamp.seconds, increment: timestamp.increment)
  }

  @inline(__always)
  func requireUUID(_ field: StaticString) throws(OplogError) -> UnsafeRawBufferPointer {
    guard let (subtype, bytes) = binary, subtype == 4, bytes.count == 16 else {
      throw wrongType(field)
    }
    return bytes
  }
}
