import BSON

/// Validates values by a program: yes or no, as fast as possible. `FailureFinder` and `Explainer` find the
/// violations.
///
/// Safety invariant: `state` belongs to the `SchemaValidator` that makes the runner within one of its
/// methods, and outlives it. Values are borrowed for that long.
struct Runner {
  let state: UnsafeMutablePointer<RunState>

  typealias Bytes = UnsafeRawBufferPointer

  /// Whether a value satisfies a schema. `frame` is the bit set of the value's evaluated parts, or
  /// -1 if it isn't needed.
  func check(_ node: Int32, _ type: BSONType, _ value: Bytes, _ frame: Int32) -> Bool {
    if node <= ProgramNode.never { return node == ProgramNode.always }
    let schema = state.pointee.nodes + Int(node)
    let kind = state.pointee.types[Int(type.rawValue)]
    if kind >= ValueTypes.double { return checkLooking(node, type, value, frame) }
    return check(schema, JSONTypes(rawValue: kind), type, value, frame)
  }

  /// The types that the table doesn't decide.
  @inline(never)
  private func checkLooking(
    _ node: Int32, _ type: BSONType, _ value: Bytes, _ frame: Int32
  ) -> Bool {
    let schema = state.pointee.nodes + Int(node)
    if type == .double, state.pointee.types[Int(type.rawValue)] == ValueTypes.double {
      let double = value.readDouble(at: 0)
      if double.isFinite {
        let kind: JSONTypes = double.rounded(.towardZero) == double ? .integer : .fraction
        return check(schema, kind, type, value, frame)
      }
      if isPlain { return check(schema, .string, type, value, frame) }
    }
    guard let document = writtenDocument(type, value, &state.pointee.plain) else { return false }
    return asPlain { check(schema, .object, .document, document, frame) }
  }

  /// Validates a document that was written for a value, which has plain types only.
  func asPlain(_ body: () -> Bool) -> Bool {
    let types = state.pointee.types
    state.pointee.types = state.pointee.plainTypes
    state.pointee.writtenDepth &+= 1
    defer {
      state.pointee.types = types
      state.pointee.writtenDepth &-= 1
    }
    return body()
  }

  /// Whether values are written in the simplified style.
  @inline(__always)
  var isPlain: Bool { state.pointee.types == state.pointee.plainTypes }

  @inline(__always)
  private func check(
    _ schema: UnsafeMutablePointer<ProgramNode>, _ kind: JSONTypes, _ type: BSONType,
    _ value: Bytes, _ frame: Int32
  ) -> Bool {
    guard schema.pointee.types & kind.rawValue != 0 else { return false }
    switch kind {
    case .string:
      guard checkString(schema.pointee.string, type, value) else { return false }
    case .integer, .fraction:
      if schema.pointee.number >= 0 {
        guard checkNumber(schema.pointee.number, type, value) else { return false }
      }
    case .array, .object: return checkWhole(schema, kind, type, value, frame)
    default: break
    }
    if schema.pointee.stepCount == 0 { return true }
    return checkWhole(schema, kind, type, value, frame)
  }

  /// The part with depth, dynamic scope and bit sets.
  @inline(never)
  private func checkWhole(
    _ schema: UnsafeMutablePointer<ProgramNode>, _ kind: JSONTypes, _ type: BSONType,
    _ value: Bytes, _ frame: Int32
  ) -> Bool {
    guard state.pointee.depth < RunState.maximumDepth else { return fail(.tooDeep) }
    guard charge(1) else { return false }
    if state.pointee.stepsLeft < state.pointee.remembersBelow, frame < 0 {
      return checkRemembering(schema, kind, type, value)
    }
    return checkInside(schema, kind, type, value, frame)
  }

  @inline(__always)
  private func checkInside(
    _ schema: UnsafeMutablePointer<ProgramNode>, _ kind: JSONTypes, _ type: BSONType,
    _ value: Bytes, _ frame: Int32
  ) -> Bool {
    state.pointee.depth &+= 1
    defer { state.pointee.depth &-= 1 }
    let scopeCount = state.pointee.scopeCount
    if state.pointee.usesDynamicScope {
      let resource = schema.pointee.resource
      if scopeCount == 0 || state.pointee.scope[scopeCount &- 1] != resource {
        state.pointee.enter(resource)
      }
    }
    defer { state.pointee.scopeCount = scopeCount }

    let rest =
      kind == .object
      ? schema.pointee.unevaluatedProperties
      : kind == .array ? schema.pointee.unevaluatedItems : -1
    if rest >= 0 { return checkUnevaluated(schema, rest, kind, type, value, frame) }
    return checkParts(schema, kind, value, frame) && checkSteps(schema, type, value, frame)
  }

  @inline(__always)
  func checkParts(
    _ schema: UnsafeMutablePointer<ProgramNode>, _ kind: JSONTypes, _ value: Bytes, _ frame: Int32
  ) -> Bool {
    if kind == .object {
      return schema.pointee.object < 0 || checkObject(schema.pointee.object, value, frame)
    }
    if kind == .array {
      return schema.pointee.array < 0 || checkArray(schema.pointee.array, value, frame)
    }
    return true
  }

  /// The same for a value that takes many steps: no schema is applied twice to the same part of it, so that
  /// schemas that branch at every level don't take exponential time.
  @inline(never)
  private func checkRemembering(
    _ schema: UnsafeMutablePointer<ProgramNode>, _ kind: JSONTypes, _ type: BSONType,
    _ value: Bytes
  ) -> Bool {
    guard !state.pointee.usesDynamicScope, state.pointee.writtenDepth == 0 else {
      return checkInside(schema, kind, type, value, -1)
    }
    guard charge(SchemaBudget.lookUpCost) else { return false }
    let key = Verdicts.Key(node: schema - state.pointee.nodes, place: value.baseAddress)
    if let known = state.pointee.verdicts[key] { return known }
    let isFine = checkInside(schema, kind, type, value, -1)
    if !hasFault, state.pointee.verdicts.add(isFine, for: key) {
      guard charge(SchemaBudget.rememberCost) else { return false }
    }
    return isFine
  }

  /// A schema with `unevaluated…`: everything else records what it evaluated, then the rest is validated.
  @inline(never)
  private func checkUnevaluated(
    _ schema: UnsafeMutablePointer<ProgramNode>, _ rest: Int32, _ kind: JSONTypes,
    _ type: BSONType, _ value: Bytes, _ frame: Int32
  ) -> Bool {
    let own = pushFrame(for: value)
    guard own >= 0 else { return false }
    defer { state.pointee.popBits(own) }
    guard checkParts(schema, kind, value, own), checkSteps(schema, type, value, own) else {
      return false
    }
    var index = 0
    let isFine = forEach(value) { element in
      if !state.pointee.isSet(index, in: own) {
        guard check(rest, element.type, element.value, -1) else { return false }
        state.pointee.mark(index, in: own)
      }
      index &+= 1
      return true
    }
    guard isFine else { return false }
    if frame >= 0 { state.pointee.merge(own, into: frame) }
    return true
  }

  /// A bit for each element that the value may have; -1 after a fault.
  @inline(__always)
  func pushFrame(for value: Bytes) -> Int32 {
    // An element takes two bytes at least.
    var most = isMembers(value) ? state.pointee.members.count : value.count &>> 1
    if most > 4_096 {
      most = 0
      let isFine = forEach(value) { _ in
        most &+= 1
        return true
      }
      guard isFine, charge(most &>> 9) else { return -1 }
    }
    return state.pointee.pushBits(words: most &>> 6 &+ 1)
  }

  /// An empty bit set of the same size; -1 after a fault.
  @inline(__always)
  private func pushFrame(like frame: Int32) -> Int32 {
    let words = Int(state.pointee.bits[Int(frame)])
    // Cleared, and merged at the end.
    guard words <= 64 || charge(words &>> 2) else { return -1 }
    return state.pointee.pushBits(words: words)
  }

  /// Charges the value's budget; false, and a fault, if it is exceeded.
  @inline(__always)
  func charge(_ steps: Int) -> Bool {
    state.pointee.stepsLeft &-= steps
    return state.pointee.stepsLeft >= 0 || fail(.tooComplex)
  }

  @inline(never)
  func fail(_ fault: SchemaFault) -> Bool {
    if state.pointee.fault == nil { state.pointee.fault = fault }
    return false
  }

  @inline(__always)
  var hasFault: Bool { state.pointee.fault != nil }

  // MARK: Elements

  /// Whether this is the placeholder for a value that is given in parts.
  @inline(__always)
  func isMembers(_ value: Bytes) -> Bool {
    value.baseAddress == UnsafeRawPointer(state)
  }

  var membersValue: Bytes { Bytes(start: UnsafeRawPointer(state), count: 0) }

  /// Calls `body` for each element until it returns false; false then, and if the bytes are broken or
  /// the budget is used up: an element is a step, and more if its key is long.
  @inline(__always)
  func forEach(_ value: Bytes, _ body: (BSONElement) -> Bool) -> Bool {
    if isMembers(value) {
      for element in state.pointee.members {
        guard charge(1), body(element) else { return false }
      }
      return true
    }
    guard let document = Self.document(value) else {
      return fail(.corrupt(BSONError(.truncated, at: 0)))
    }
    var elements = document.elements()
    do throws(BSONError) {
      while let element = try elements.advance() {
        if element.key.count >= 64 || element.type == .regex {
          guard charge(Self.scanned(element)) else { return false }
        }
        guard charge(1), body(element) else { return false }
      }
      return true
    } catch {
      return fail(.corrupt(error))
    }
  }

  /// Steps that finding the ends of an element's texts takes, beyond one.
  @inline(never)
  private static func scanned(_ element: BSONElement) -> Int {
    element.key.count &>> 6 &+ (element.type == .regex ? element.value.count &>> 6 : 0)
  }

  @inline(__always)
  static func document(_ value: Bytes) -> BSONView? {
    BSONElement(type: .document, key: Bytes(start: nil, count: 0), value: value).document
  }

  // MARK: Steps

  @inline(__always)
  func checkSteps(
    _ schema: UnsafeMutablePointer<ProgramNode>, _ type: BSONType, _ value: Bytes, _ frame: Int32
  ) -> Bool {
    var left = schema.pointee.stepCount
    if left == 0 { return true }
    var step = state.pointee.programSteps + Int(schema.pointee.firstStep)
    while left > 0 {
      guard check(step, type, value, frame) else { return false }
      step += 1
      left &-= 1
    }
    return true
  }

  func check(
    _ step: UnsafeMutablePointer<ProgramStep>, _ type: BSONType, _ value: Bytes, _ frame: Int32
  ) -> Bool {
    switch step.pointee.kind {
    case .const: return isEqual(step.pointee.a, type, value)
    case .enumeration: return isAny(step, type, value)
    case .reference: return check(step.pointee.a, type, value, frame)
    case .dynamicReference: return check(dynamicTarget(step), type, value, frame)
    case .allOf:
      guard charge(Int(step.pointee.c)) else { return false }
      for index in 0..<Int(step.pointee.c) {
        let node = state.pointee.lists[Int(step.pointee.b) &+ index]
        guard check(node, type, value, frame) else { return false }
      }
      return true
    case .anyOf: return checkAny(step, type, value, frame)
    case .oneOf: return checkOne(step, type, value, frame)
    case .choice: return checkChoice(step, type, value, frame)
    case .not: return !check(step.pointee.a, type, value, -1) && !hasFault
    case .condition:
      let holds = checkBranch(step.pointee.a, type, value, frame)
      guard !hasFault else { return false }
      return check(holds ? step.pointee.b : step.pointee.c, type, value, frame)
    }
  }

  /// A schema that need not hold: only if it does, what it evaluated counts.
  @inline(__always)
  func checkBranch(
    _ node: Int32, _ type: BSONType, _ value: Bytes, _ frame: Int32
  ) -> Bool {
    guard frame >= 0 else { return check(node, type, value, -1) }
    let own = pushFrame(like: frame)
    guard own >= 0 else { return false }
    defer { state.pointee.popBits(own) }
    guard check(node, type, value, own) else { return false }
    state.pointee.merge(own, into: frame)
    return true
  }

  private func checkAny(
    _ step: UnsafeMutablePointer<ProgramStep>, _ type: BSONType, _ value: Bytes, _ frame: Int32
  ) -> Bool {
    var isFine = false
    guard charge(Int(step.pointee.c)) else { return false }
    for index in 0..<Int(step.pointee.c) {
      let node = state.pointee.lists[Int(step.pointee.b) &+ index]
      if checkBranch(node, type, value, frame) {
        isFine = true
        // Further branches matter only for what they evaluate.
        if frame < 0 { break }
      }
      guard !hasFault else { return false }
    }
    return isFine
  }

  private func checkOne(
    _ step: UnsafeMutablePointer<ProgramStep>, _ type: BSONType, _ value: Bytes, _ frame: Int32
  ) -> Bool {
    var count = 0
    guard charge(Int(step.pointee.c)) else { return false }
    for index in 0..<Int(step.pointee.c) {
      let node = state.pointee.lists[Int(step.pointee.b) &+ index]
      if checkBranch(node, type, value, frame) { count &+= 1 }
      guard !hasFault, count < 2 else { return false }
    }
    return count == 1
  }

  private func checkChoice(
    _ step: UnsafeMutablePointer<ProgramStep>, _ type: BSONType, _ value: Bytes, _ frame: Int32
  ) -> Bool {
    guard type == .document else { return false }
    let key = state.pointee.entries + Int(state.pointee.tables[Int(step.pointee.b)].first)
    var found = ProgramNode.never
    let isMissing = forEach(value) { element in
      guard matches(key, KeyHash.word(element.key), element.key) else { return true }
      if let text = text(element.type, element.value) {
        let entry = entry(step.pointee.a, text)
        if entry >= 0 { found = entryPointer(step.pointee.a, entry).pointee.node }
      }
      return false
    }
    return !isMissing && check(found, type, value, frame)
  }

  private func dynamicTarget(_ step: UnsafeMutablePointer<ProgramStep>) -> Int32 {
    // The check of the target finds a fault.
    _ = charge((state.pointee.scopeCount &* Int(step.pointee.c)) &>> 2)
    for index in 0..<state.pointee.scopeCount {
      let resource = state.pointee.scope[index]
      var pair = Int(step.pointee.b)
      let end = pair &+ Int(step.pointee.c)
      while pair < end {
        if state.pointee.lists[pair] == resource { return state.pointee.lists[pair &+ 1] }
        pair &+= 2
      }
    }
    return step.pointee.a
  }

  // MARK: Keys

  @inline(__always)
  func entryPointer(_ table: Int32, _ entry: Int) -> UnsafeMutablePointer<KeyEntry> {
    state.pointee.entries + (Int(state.pointee.tables[Int(table)].first) &+ entry)
  }

  @inline(__always)
  func matches(_ entry: UnsafeMutablePointer<KeyEntry>, _ word: UInt64, _ key: Bytes) -> Bool {
    guard entry.pointee.word == word, Int(entry.pointee.length) == key.count else { return false }
    guard key.count > 8, let start = key.baseAddress else { return true }
    return KeyHash.restIsEqual(
      state.pointee.text + Int(entry.pointee.offset), start, key.count)
  }

  /// The index of a key in its table, or -1.
  @inline(__always)
  func entry(_ table: Int32, _ key: Bytes) -> Int { entry(table, KeyHash.word(key), key) }

  func entry(_ table: Int32, _ word: UInt64, _ key: Bytes) -> Int {
    let table = state.pointee.tables + Int(table)
    guard key.count <= Int(table.pointee.longest) else { return -1 }
    let mask = Int(table.pointee.slotMask)
    var slot = KeyHash.hash(word, key) & mask
    while true {
      let index = Int(state.pointee.program.slots[Int(table.pointee.firstSlot) &+ slot])
      if index < 0 { return -1 }
      let entry = state.pointee.entries + (Int(table.pointee.first) &+ index)
      if matches(entry, word, key) { return index }
      slot = (slot &+ 1) & mask
    }
  }
}
