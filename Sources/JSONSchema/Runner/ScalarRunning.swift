import BSON
import Patterns

extension Runner {
  // MARK: Strings

  @inline(__always)
  func checkString(_ index: Int32, _ type: BSONType, _ value: Bytes) -> Bool {
    guard type == .string else { return checkRendered(index, type, value) }
    let text = Bytes(rebasing: value[4..<(value.count &- 1)])
    guard chargeText(text.count, index) else { return false }
    let length = UTF8Decoding.length(text)
    guard length >= 0 else { return fail(.invalidUTF8) }
    if index < 0 { return true }
    return check(state.pointee.program.strings + Int(index), text, length)
  }

  /// The steps of reading a text, except for slow patterns.
  @inline(__always)
  private func chargeText(_ count: Int, _ index: Int32) -> Bool {
    let cost =
      index < 0
      ? SchemaBudget.textCost : state.pointee.program.strings[Int(index)].cost
    let steps = (count &* cost) &>> 6
    state.pointee.stepsLeft &-= steps
    // A few more steps are noticed by the next charge.
    return steps < 512 || state.pointee.stepsLeft >= 0 || fail(.tooComplex)
  }

  @inline(__always)
  private func check(
    _ plan: UnsafeMutablePointer<StringPlan>, _ text: Bytes, _ length: Int
  ) -> Bool {
    guard length >= plan.pointee.least, length <= plan.pointee.most else { return false }
    if plan.pointee.pattern >= 0 {
      guard search(plan.pointee.table, plan.pointee.pattern, text) else { return false }
    }
    if let format = plan.pointee.format {
      guard format.accepts(text) else { return false }
    }
    return plan.pointee.content == .none || plan.pointee.content.accepts(text)
  }

  /// Looks for a pattern.
  @inline(__always)
  func search(_ table: PatternTable.View?, _ pattern: Int32, _ text: Bytes) -> Bool {
    if let table { return table.matches(text) }
    return searchSlowly(pattern, text)
  }

  @inline(never)
  private func searchSlowly(_ index: Int32, _ text: Bytes) -> Bool {
    searchSlowly(state.pointee.program.patterns[Int(index)], text)
  }

  func searchSlowly(_ pattern: Pattern, _ text: Bytes) -> Bool {
    // A step of these takes as long as some of others.
    var steps = max(0, state.pointee.stepsLeft) / SchemaBudget.patternStepCost
    let before = steps
    let outcome = pattern.search(text, &state.pointee.patternScratch, steps: &steps)
    state.pointee.stepsLeft &-= (before &- steps) &* SchemaBudget.patternStepCost
    state.pointee.patternScratch.shrink()
    switch outcome {
    case .found: return true
    case .missing: return false
    case .tooComplex: return fail(.patternTooComplex(pattern: pattern.text))
    }
  }

  /// A value that is a string only in JSON. It need not be written for what its form decides.
  @inline(__always)
  private func checkRendered(_ index: Int32, _ type: BSONType, _ value: Bytes) -> Bool {
    let plan = state.pointee.program.strings + Int(index)
    let known: KnownVerdict
    let count: Int
    // The same steps as for the text that is written.
    switch type {
    case .objectID:
      known = index < 0 ? .valid : plan.pointee.objectID
      count = StringForms.objectID.count
    case .date where ISODate.range.contains(value.readInt64(at: 0)):
      known = index < 0 ? .valid : plan.pointee.dateTime
      count = StringForms.dateTime.count
    case .binary where value.count == 21 && value.readByte(at: 4) == 4:
      known = index < 0 ? .valid : plan.pointee.uuid
      count = StringForms.uuid.count
    default: return checkText(index, type, value)
    }
    if known == .unknown { return checkText(index, type, value) }
    return chargeText(count, index) && known == .valid
  }

  @inline(never)
  private func checkText(_ index: Int32, _ type: BSONType, _ value: Bytes) -> Bool {
    guard let text = text(type, value), chargeText(text.count, index) else { return false }
    if index < 0 { return true }
    let plan = state.pointee.program.strings + Int(index)
    let length = UTF8Decoding.length(text)
    guard length >= 0 else { return fail(.invalidUTF8) }
    return check(plan, text, length)
  }

  /// The text of a value that is a string in JSON, or nil for others. Valid until the next call.
  @inline(__always)
  func text(_ type: BSONType, _ value: Bytes) -> Bytes? {
    if type == .string { return Bytes(rebasing: value[4..<(value.count &- 1)]) }
    guard charge(SchemaBudget.writeCost &+ value.count &>> 3) else { return nil }
    return Self.text(type, value, isPlain: isPlain, &state.pointee.rendered)
  }

  /// The same into other memory.
  @inline(never)
  static func text(
    _ type: BSONType, _ value: Bytes, isPlain: Bool, _ memory: inout ByteWriter
  ) -> Bytes? {
    if type == .string { return Bytes(rebasing: value[4..<(value.count &- 1)]) }
    guard isPlain else { return nil }
    let element = BSONElement(type: type, key: Bytes(start: nil, count: 0), value: value)
    memory.removeAll()
    switch element.simplifiedForm {
    case .text: return element.string
    case .objectID: memory.appendHex(value)
    case .dateTime, .milliseconds: memory.appendISODate(milliseconds: value.readInt64(at: 0))
    case .nonFiniteNumber: memory.append(shortest: value.readDouble(at: 0))
    case .decimal:
      guard let bits = element.decimal128 else { return nil }
      memory.appendDecimal128(high: bits.high, low: bits.low)
    case .uuid:
      guard let uuid = element.uuid else { return nil }
      memory.appendUUID(uuid)
    case .base64:
      guard let binary = element.binary else { return nil }
      memory.appendBase64(binary.bytes)
    default: return nil
    }
    return memory.bytes
  }

  // MARK: Numbers

  @inline(__always)
  func checkNumber(_ index: Int32, _ type: BSONType, _ value: Bytes) -> Bool {
    let plan = state.pointee.program.numbers + Int(index)
    switch type {
    case .int32: return check(plan, Int64(value.readInt32(at: 0)))
    case .int64: return check(plan, value.readInt64(at: 0))
    default: return check(plan, value.readDouble(at: 0))
    }
  }

  @inline(__always)
  private func check(_ plan: UnsafeMutablePointer<NumberPlan>, _ integer: Int64) -> Bool {
    plan.pointee.bounds.contains(integer)
      && (!plan.pointee.hasDivisor
        || charge(plan.pointee.divisor.cost) && plan.pointee.divisor.divides(integer))
  }

  private func check(_ plan: UnsafeMutablePointer<NumberPlan>, _ double: Double) -> Bool {
    guard plan.pointee.bounds.contains(double) else { return false }
    if !plan.pointee.hasDivisor { return true }
    guard charge(8 &+ plan.pointee.divisor.cost) else { return false }
    let (digits, exponent) = written(double)
    return plan.pointee.divisor.divides(digits: digits, exponent: exponent)
  }

  /// A finite double as JSON writes it, without its sign: digits times ten to the exponent.
  func written(_ double: Double) -> (digits: UInt64, exponent: Int) {
    if double.magnitude <= 0x1p53, double.rounded(.towardZero) == double {
      return (UInt64(double.magnitude), 0)
    }
    state.pointee.rendered.removeAll()
    state.pointee.rendered.append(shortest: double)
    var digits: UInt64 = 0
    var exponent = 0
    var isFraction = false
    var reader = TextReader(state.pointee.rendered.bytes)
    _ = reader.eat("-")
    while !reader.isAtEnd {
      let byte = reader.current
      reader.at += 1
      if byte == UInt8(ascii: ".") {
        isFraction = true
      } else if byte == UInt8(ascii: "e") {
        let isBelow = reader.eat("-")
        _ = reader.eat("+")
        var power = 0
        while TextReader.isDigit(reader.current) {
          power = power * 10 + Int(reader.current - 0x30)
          reader.at += 1
        }
        exponent += isBelow ? -power : power
        break
      } else {
        // Seventeen digits at most, and the zero of "1.0".
        digits = digits &* 10 &+ UInt64(byte - 0x30)
        if isFraction { exponent -= 1 }
      }
    }
    return (digits, exponent)
  }
}
