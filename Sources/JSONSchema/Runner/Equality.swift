import BSON

// Equality as defined by JSON Schema: numbers by their exact value, objects without their order.

extension Runner {
  // MARK: With constants

  func isAny(_ step: UnsafeMutablePointer<ProgramStep>, _ type: BSONType, _ value: Bytes) -> Bool {
    if isString(type, value) {
      guard let text = text(type, value), charge(2 &+ text.count &>> 6) else { return false }
      return state.pointee.tables[Int(step.pointee.a)].count > 0 && entry(step.pointee.a, text) >= 0
    }
    if step.pointee.d >= 0 { return isAnyByHash(step, type, value) }
    guard charge(Int(step.pointee.c)) else { return false }
    for index in 0..<step.pointee.c where isEqual(step.pointee.b &+ index, type, value) {
      return true
    }
    return false
  }

  /// Only the constants with the value's hash can be equal to it.
  @inline(never)
  private func isAnyByHash(
    _ step: UnsafeMutablePointer<ProgramStep>, _ type: BSONType, _ value: Bytes
  ) -> Bool {
    var hash = StableHash()
    self.hash(type, value, &hash)
    guard !hasFault, charge(4) else { return false }
    let wanted = hash.value
    let hashed = state.pointee.program.hashed + Int(step.pointee.d)
    let count = Int(step.pointee.c)
    var low = 0
    var high = count
    while low < high {
      let middle = (low &+ high) &>> 1
      if hashed[middle].hash < wanted { low = middle &+ 1 } else { high = middle }
    }
    while low < count, hashed[low].hash == wanted {
      guard charge(1) else { return false }
      if isEqual(hashed[low].constant, type, value) { return true }
      low &+= 1
    }
    return false
  }

  /// Whether the value is a string in JSON.
  private func isString(_ type: BSONType, _ value: Bytes) -> Bool {
    let kind = state.pointee.types[Int(type.rawValue)]
    if kind == ValueTypes.double { return isPlain && !value.readDouble(at: 0).isFinite }
    return kind == JSONTypes.string.rawValue
  }

  func isEqual(_ constant: Int32, _ type: BSONType, _ value: Bytes) -> Bool {
    let constant = state.pointee.program.constants + Int(constant)
    switch constant.pointee.kind {
    case .null: return state.pointee.types[Int(type.rawValue)] == JSONTypes.null.rawValue
    case .boolean:
      return type == .bool && value.readByte(at: 0) == UInt8(constant.pointee.value)
    case .number: return isEqual(number: constant.pointee.value, type, value)
    case .string:
      guard isString(type, value), let text = text(type, value) else { return false }
      guard charge(text.count &>> 10) else { return false }
      let expected = Bytes(
        start: state.pointee.text + Int(constant.pointee.value), count: Int(constant.pointee.count))
      return text.equals(expected)
    case .array: return type == .array && isEqual(array: constant, value)
    case .object:
      if type == .document { return isEqual(object: constant, value) }
      guard isWritten(type, value),
        let document = writtenDocument(type, value, &state.pointee.plain)
      else { return false }
      return asPlain { isEqual(object: constant, document) }
    }
  }

  /// Whether a value that is no document in BSON is an object in JSON.
  private func isWritten(_ type: BSONType, _ value: Bytes) -> Bool {
    let kind = state.pointee.types[Int(type.rawValue)]
    if kind == ValueTypes.double { return !isPlain && !value.readDouble(at: 0).isFinite }
    return kind == ValueTypes.written
  }

  private func isEqual(number index: Int32, _ type: BSONType, _ value: Bytes) -> Bool {
    let number = state.pointee.program.constantNumbers + Int(index)
    switch numeric(type, value) {
    case .integer(let integer):
      return number.pointee.isInteger && number.pointee.integer == integer
    case .double(let double): return number.pointee.isDouble && number.pointee.double == double
    case nil: return false
    }
  }

  private enum Numeric {
    case integer(Int64)
    case double(Double)
  }

  /// A value that is a number in JSON.
  @inline(__always)
  private func numeric(_ type: BSONType, _ value: Bytes) -> Numeric? {
    switch state.pointee.types[Int(type.rawValue)] {
    case JSONTypes.integer.rawValue:
      return .integer(type == .int32 ? Int64(value.readInt32(at: 0)) : value.readInt64(at: 0))
    case ValueTypes.double:
      let double = value.readDouble(at: 0)
      return double.isFinite ? .double(double) : nil
    default: return nil
    }
  }

  private func isEqual(
    array constant: UnsafeMutablePointer<ProgramConstant>, _ value: Bytes
  ) -> Bool {
    let children = state.pointee.lists + Int(constant.pointee.value)
    let count = Int(constant.pointee.count)
    var at = 0
    let isFine = forEach(value) { element in
      guard at < count, isEqual(children[at], element.type, element.value) else { return false }
      at &+= 1
      return true
    }
    return isFine && at == count
  }

  private func isEqual(
    object constant: UnsafeMutablePointer<ProgramConstant>, _ value: Bytes
  ) -> Bool {
    let count = Int(constant.pointee.count)
    let table = constant.pointee.value
    var members = 0
    var found = 0
    let seen = state.pointee.pushBits(words: count / 64 + 1)
    defer { state.pointee.popBits(seen) }
    let isFine = forEach(value) { element in
      members &+= 1
      let index = entry(table, element.key)
      guard index >= 0,
        isEqual(entryPointer(table, index).pointee.node, element.type, element.value)
      else { return false }
      if !state.pointee.isSet(index, in: seen) { found &+= 1 }
      state.pointee.mark(index, in: seen)
      return true
    }
    return isFine && members == count && found == count
  }

  // MARK: Of two values

  func isEqual(
    _ type: BSONType, _ value: Bytes, _ otherType: BSONType, _ other: Bytes
  ) -> Bool {
    guard charge(1) else { return false }
    if let number = numeric(type, value) {
      guard let otherNumber = numeric(otherType, other) else { return false }
      return isEqual(number, otherNumber)
    }
    if isString(type, value) {
      guard isString(otherType, other), let text = text(type, value),
        let otherText = Self.text(
          otherType, other, isPlain: isPlain, &state.pointee.otherRendered)
      else { return false }
      return charge(text.count &>> 6) && text.equals(otherText)
    }
    if type == .document || isWritten(type, value) {
      guard otherType == .document || isWritten(otherType, other) else { return false }
      return isEqualObject(type, value, otherType, other)
    }
    if type == .array { return otherType == .array && isEqualArray(value, other) }
    if type == .bool { return otherType == .bool && value.readByte(at: 0) == other.readByte(at: 0) }
    // The only remaining type is null.
    return state.pointee.types[Int(otherType.rawValue)] == JSONTypes.null.rawValue
  }

  private func isEqual(_ number: Numeric, _ other: Numeric) -> Bool {
    switch (number, other) {
    case (.integer(let a), .integer(let b)): return a == b
    // Different doubles are written differently.
    case (.double(let a), .double(let b)): return a == b
    case (.integer(let a), .double(let b)), (.double(let b), .integer(let a)):
      guard Double(a) == b else { return false }
      if a.magnitude <= 1 << 53 { return true }
      var (digits, exponent) = written(b)
      while exponent > 0 {
        let (product, tooLarge) = digits.multipliedReportingOverflow(by: 10)
        guard !tooLarge else { return false }
        digits = product
        exponent -= 1
      }
      // "….0" of a large double.
      while exponent < 0, digits % 10 == 0 {
        digits /= 10
        exponent += 1
      }
      return exponent == 0 && digits == a.magnitude
    }
  }

  private func isEqualArray(_ value: Bytes, _ other: Bytes) -> Bool {
    guard enterDeeper() else { return false }
    defer { state.pointee.depth &-= 1 }
    guard let document = Self.document(other) else { return false }
    var rest = document.elements()
    let isFine = forEach(value) { element in
      guard let next = try? rest.advance() else { return false }
      return isEqual(element.type, element.value, next.type, next.value)
    }
    guard isFine else { return false }
    // The other one must be at its end, too.
    do throws(BSONError) {
      return try rest.advance() == nil
    } catch {
      return fail(.corrupt(error))
    }
  }

  func enterDeeper() -> Bool {
    guard state.pointee.depth < RunState.maximumDepth else { return fail(.tooDeep) }
    state.pointee.depth &+= 1
    return true
  }

  private func isEqualObject(
    _ type: BSONType, _ value: Bytes, _ otherType: BSONType, _ other: Bytes
  ) -> Bool {
    guard enterDeeper() else { return false }
    defer { state.pointee.depth &-= 1 }
    if type == .document, otherType == .document { return isEqualObject(value, other) }
    // Documents and written objects are both compared by what is written, so different inner types can't make
    // them equal by accident.
    guard let document = written(type, value, &state.pointee.plain),
      let otherDocument = written(otherType, other, &state.pointee.otherPlain)
    else { return false }
    return asPlain { isEqualObject(document, otherDocument) }
  }

  private func written(
    _ type: BSONType, _ value: Bytes, _ memory: inout ByteWriter
  ) -> Bytes? {
    writtenDocument(type, value, &memory)
  }

  private func isEqualObject(_ value: Bytes, _ other: Bytes) -> Bool {
    var count = 0
    var otherCount = 0
    guard let document = Self.document(other) else { return false }
    // Members are mostly in the same order; else each is searched.
    var rest: BSONElements? = document.elements()
    let isFine =
      forEach(other) { _ in
        otherCount &+= 1
        return true
      }
      && forEach(value) { element in
        count &+= 1
        if let next = try? rest?.advance(), next.key.equals(element.key) {
          return isEqual(next.type, next.value, element.type, element.value)
        }
        rest = nil
        return hasEqual(element, in: other)
      }
    return isFine && count == otherCount
  }

  /// Whether an item of an array is one itself, or an object.
  func isStructure(_ type: BSONType, _ value: Bytes) -> Bool {
    type == .document || type == .array || isWritten(type, value)
  }

  private func hasEqual(_ element: BSONElement, in other: Bytes) -> Bool {
    var isEqual = false
    let isMissing = forEach(other) { candidate in
      guard candidate.key.equals(element.key) else { return true }
      isEqual = self.isEqual(element.type, element.value, candidate.type, candidate.value)
      return false
    }
    return !isMissing && isEqual
  }

  // MARK: Hashes

  /// Feeds a value to a hasher so that equal values have equal hashes.
  func hash(_ type: BSONType, _ value: Bytes, _ hasher: inout StableHash) {
    if let number = numeric(type, value) {
      switch number {
      case .integer(let integer): hasher.combine(number: Double(integer))
      case .double(let double): hasher.combine(number: double)
      }
      return
    }
    if isString(type, value) {
      if let text = text(type, value), charge(text.count &>> 6) { hasher.combine(text: text) }
      return
    }
    if type == .document {
      hash(object: value, &hasher)
    } else if isWritten(type, value) {
      guard let document = writtenDocument(type, value, &state.pointee.plain) else { return }
      _ = asPlain {
        hash(object: document, &hasher)
        return true
      }
    } else if type == .array {
      guard enterDeeper() else { return }
      defer { state.pointee.depth &-= 1 }
      hasher.combine(StableHash.arrayMark)
      _ = forEach(value) { element in
        hash(element.type, element.value, &hasher)
        return !hasFault
      }
    } else {
      hasher.combine(
        type == .bool ? StableHash.mark(value.readByte(at: 0) == 1) : StableHash.nullMark)
    }
  }

  private func hash(object value: Bytes, _ hasher: inout StableHash) {
    guard enterDeeper() else { return }
    defer { state.pointee.depth &-= 1 }
    // The order doesn't count: members' hashes are added up.
    var sum: UInt64 = 0
    _ = forEach(value) { element in
      var member = StableHash()
      member.combine(text: element.key)
      hash(element.type, element.value, &member)
      sum &+= member.value
      return !hasFault
    }
    hasher.combine(StableHash.objectMark &+ sum)
  }
}
