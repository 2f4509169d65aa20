import Patterns

/// The tables of a compiled schema.
///
/// Safety invariant: all memory is owned by this object, filled in `init` and never changed, so
/// that it may be read from any thread. Indices within the tables were made by `Lowering`, which
/// only hands out those of entries it has added. Patterns' tables are kept alive by `patterns`.
final class Program: @unchecked Sendable {
  let nodes: UnsafeMutablePointer<ProgramNode>
  let steps: UnsafeMutablePointer<ProgramStep>
  let strings: UnsafeMutablePointer<StringPlan>
  let numbers: UnsafeMutablePointer<NumberPlan>
  let arrays: UnsafeMutablePointer<ArrayPlan>
  let objects: UnsafeMutablePointer<ObjectPlan>
  let dependents: UnsafeMutablePointer<ProgramDependent>
  let propertyPatterns: UnsafeMutablePointer<ProgramPattern>
  let tables: UnsafeMutablePointer<KeyTable>
  let entries: UnsafeMutablePointer<KeyEntry>
  let slots: UnsafeMutablePointer<Int32>
  let lists: UnsafeMutablePointer<Int32>
  let words: UnsafeMutablePointer<UInt64>
  let constants: UnsafeMutablePointer<ProgramConstant>
  let constantNumbers: UnsafeMutablePointer<NumberConstant>
  let hashed: UnsafeMutablePointer<HashedConstant>
  let text: UnsafeMutablePointer<UInt8>
  /// The node of each schema of the model, or -1 if it is unreachable: for explanations.
  let nodesOfSchemas: [Int32]
  let patterns: [Pattern]
  let root: Int32
  let usesDynamicScope: Bool
  let predictionCount: Int
  let tableCount: Int

  init(_ lowered: borrowing LoweredTables) {
    nodes = Self.copied(lowered.nodes)
    steps = Self.copied(lowered.steps)
    strings = Self.copied(lowered.strings)
    numbers = Self.copied(lowered.numbers)
    arrays = Self.copied(lowered.arrays)
    objects = Self.copied(lowered.objects)
    dependents = Self.copied(lowered.dependents)
    propertyPatterns = Self.copied(lowered.propertyPatterns)
    tables = Self.copied(lowered.tables)
    entries = Self.copied(lowered.entries)
    slots = Self.copied(lowered.slots)
    lists = Self.copied(lowered.lists)
    words = Self.copied(lowered.words)
    constants = Self.copied(lowered.constants)
    constantNumbers = Self.copied(lowered.constantNumbers)
    hashed = Self.copied(lowered.hashed)
    nodesOfSchemas = lowered.nodesOfSchemas
    // Whole words are read from the text.
    text = Self.copied(lowered.text + [UInt8](repeating: 0, count: 8))
    patterns = lowered.patterns
    root = lowered.root
    usesDynamicScope = lowered.usesDynamicScope
    predictionCount = lowered.predictionCount
    tableCount = lowered.tables.count
  }

  private static func copied<Element>(_ array: [Element]) -> UnsafeMutablePointer<Element> {
    let pointer = UnsafeMutablePointer<Element>.allocate(capacity: max(array.count, 1))
    array.withUnsafeBufferPointer { buffer in
      if let base = buffer.baseAddress { pointer.initialize(from: base, count: buffer.count) }
    }
    return pointer
  }

  deinit {
    // All of it is plain data.
    nodes.deallocate()
    steps.deallocate()
    strings.deallocate()
    numbers.deallocate()
    arrays.deallocate()
    objects.deallocate()
    dependents.deallocate()
    propertyPatterns.deallocate()
    tables.deallocate()
    entries.deallocate()
    slots.deallocate()
    lists.deallocate()
    words.deallocate()
    constants.deallocate()
    constantNumbers.deallocate()
    hashed.deallocate()
    text.deallocate()
  }
}

/// The tables during compilation.
struct LoweredTables {
  var nodes: [ProgramNode] = []
  var steps: [ProgramStep] = []
  var strings: [StringPlan] = []
  var numbers: [NumberPlan] = []
  var arrays: [ArrayPlan] = []
  var objects: [ObjectPlan] = []
  var dependents: [ProgramDependent] = []
  var propertyPatterns: [ProgramPattern] = []
  var tables: [KeyTable] = []
  var entries: [KeyEntry] = []
  var slots: [Int32] = []
  var lists: [Int32] = []
  var words: [UInt64] = []
  var constants: [ProgramConstant] = []
  var constantNumbers: [NumberConstant] = []
  var hashed: [HashedConstant] = []
  var nodesOfSchemas: [Int32] = []
  var text: [UInt8] = []
  var patterns: [Pattern] = []
  var root: Int32 = 0
  var usesDynamicScope = false
  var predictionCount = 0
}

/// How keys are found in a `KeyTable`.
enum KeyHash {
  /// The first eight bytes, zeros behind the end.
  @inline(__always)
  static func word(_ key: UnsafeRawBufferPointer) -> UInt64 {
    guard let base = key.baseAddress else { return 0 }
    if key.count >= 8 { return base.loadUnaligned(as: UInt64.self) }
    var word: UInt64 = 0
    var at = 0
    var left = key.count
    // In two halves at most, and a byte.
    if left & 4 != 0 {
      word = UInt64(base.loadUnaligned(as: UInt32.self))
      at = 4
    }
    left &= 3
    while left > 0 {
      word |= UInt64(base.load(fromByteOffset: at, as: UInt8.self)) &<< UInt64(at &* 8)
      at &+= 1
      left &-= 1
    }
    return word
  }

  @inline(__always)
  static func hash(_ word: UInt64, _ key: UnsafeRawBufferPointer) -> Int {
    let length = key.count
    var mixed = (word ^ UInt64(truncatingIfNeeded: length)) &* 0x9E37_79B9_7F4A_7C15
    if length > 8, let base = key.baseAddress {
      // The last word overlaps the one before. Keys often share long prefixes.
      var at = 8
      while at &+ 8 < length {
        mixed =
          (mixed ^ mixed &>> 32 ^ base.loadUnaligned(fromByteOffset: at, as: UInt64.self))
          &* 0x9E37_79B9_7F4A_7C15
        at &+= 8
      }
      mixed =
        (mixed ^ mixed &>> 32
          ^ base.loadUnaligned(fromByteOffset: length &- 8, as: UInt64.self))
        &* 0x9E37_79B9_7F4A_7C15
    }
    return Int(truncatingIfNeeded: (mixed ^ mixed &>> 32) & 0x7FFF_FFFF)
  }

  /// Whether the bytes from the eighth on are equal; the first eight were compared already.
  @inline(__always)
  static func restIsEqual(
    _ a: UnsafePointer<UInt8>, _ b: UnsafeRawPointer, _ length: Int
  ) -> Bool {
    var at = 8
    while at &+ 8 <= length {
      let left = UnsafeRawPointer(a).loadUnaligned(fromByteOffset: at, as: UInt64.self)
      if left != b.loadUnaligned(fromByteOffset: at, as: UInt64.self) { return false }
      at &+= 8
    }
    // The last eight bytes overlap those before.
    guard at < length else { return true }
    let tail = length &- 8
    return UnsafeRawPointer(a).loadUnaligned(fromByteOffset: tail, as: UInt64.self)
      == b.loadUnaligned(fromByteOffset: tail, as: UInt64.self)
  }
}
