import BSON
import Patterns

/// The working memory of validation: kept from one value to the next, so that nothing is allocated once it has
/// grown.
///
/// Safety invariant: belongs to one `SchemaValidator` and is used by one thread at a time. The pointers to
/// tables are valid as long as `program` lives; `bits`, `scope` and `predictions` are owned here and freed
/// in `deinit`; `members` is borrowed from the validator's caller and emptied before that returns.
struct RunState: ~Copyable {
  let program: Program
  let nodes: UnsafeMutablePointer<ProgramNode>
  let programSteps: UnsafeMutablePointer<ProgramStep>
  let objects: UnsafeMutablePointer<ObjectPlan>
  let tables: UnsafeMutablePointer<KeyTable>
  let entries: UnsafeMutablePointer<KeyEntry>
  let lists: UnsafeMutablePointer<Int32>
  let text: UnsafeMutablePointer<UInt8>
  let usesDynamicScope: Bool

  /// The JSON type of each BSON type (see `ValueTypes`), now and in the schema's style.
  var types: UnsafePointer<UInt8>
  let styleTypes: UnsafePointer<UInt8>
  let plainTypes: UnsafePointer<UInt8>
  let style: JSONStyle

  var fault: SchemaFault?
  var depth = 0
  var stepsLeft = 0
  /// With fewer steps left, verdicts on parts of the value are remembered.
  var remembersBelow = 0
  var verdicts = Verdicts()
  /// Depth within written values, whose memory is reused for the next one.
  var writtenDepth = 0
  /// For each key table and each of its keys, the key that came next the last time.
  let predictions: UnsafeMutablePointer<Int32>

  /// The members of a value that is given in parts, during its validation.
  var members = UnsafeBufferPointer<BSONElement>(start: nil, count: 0)

  /// Stack of bit sets. Each starts with its number of words.
  var bits: UnsafeMutablePointer<UInt64>
  var bitCapacity = 64
  var bitCount = 0

  /// The resources that were entered, outermost first.
  var scope: UnsafeMutablePointer<Int32>
  var scopeCapacity = 64
  var scopeCount = 0

  /// The JSON text of a value that is a string only in JSON. The second is for comparing two.
  var rendered = ByteWriter(capacity: 64)
  var otherRendered = ByteWriter(capacity: 64)
  /// The JSON object of a value that is an object only in JSON, as a document of plain types; likewise.
  var plain = ByteWriter(capacity: 64)
  var otherPlain = ByteWriter(capacity: 64)
  var plainText = ByteWriter(capacity: 64)
  var patternScratch = PatternScratch()
  var items = ItemSet()
  /// The two equal items that `uniqueItems` found.
  var equalItems: (first: Int, second: Int) = (0, 0)

  /// The maximum nesting of schemas and values. A level takes half a kilobyte of
  /// stack.
  static let maximumDepth = 2_000

  init(_ program: Program, style: JSONStyle) {
    self.program = program
    self.style = style
    nodes = program.nodes
    programSteps = program.steps
    objects = program.objects
    tables = program.tables
    entries = program.entries
    lists = program.lists
    text = program.text
    usesDynamicScope = program.usesDynamicScope
    styleTypes = ValueTypes.table(style)
    plainTypes = ValueTypes.table(.simplified)
    types = styleTypes
    predictions = .allocate(capacity: max(program.predictionCount, 1))
    predictions.initialize(repeating: 0, count: max(program.predictionCount, 1))
    bits = .allocate(capacity: bitCapacity)
    scope = .allocate(capacity: scopeCapacity)
    // At first, keys are expected in the order of the schema.
    for index in 0..<program.tableCount {
      let table = program.tables[index]
      for key in 0..<table.count {
        predictions[Int(table.firstPrediction + key)] = key
      }
    }
  }

  deinit {
    predictions.deallocate()
    bits.deallocate()
    scope.deallocate()
  }

  // MARK: Bit sets

  /// A new bit set with all bits clear. Sets are given back in reverse order.
  mutating func pushBits(words: Int) -> Int32 {
    let at = bitCount
    let needed = at + words + 1
    if needed > bitCapacity {
      let capacity = max(needed, bitCapacity * 2)
      let larger = UnsafeMutablePointer<UInt64>.allocate(capacity: capacity)
      larger.update(from: bits, count: at)
      bits.deallocate()
      bits = larger
      bitCapacity = capacity
    }
    bits[at] = UInt64(words)
    (bits + at + 1).update(repeating: 0, count: words)
    bitCount = needed
    return Int32(at)
  }

  @inline(__always)
  mutating func popBits(_ set: Int32) { bitCount = Int(set) }

  @inline(__always)
  func isSet(_ bit: Int, in set: Int32) -> Bool {
    bits[Int(set) &+ 1 &+ bit &>> 6] &>> UInt64(bit & 63) & 1 == 1
  }

  @inline(__always)
  func mark(_ bit: Int, in set: Int32) {
    bits[Int(set) &+ 1 &+ bit &>> 6] |= 1 &<< UInt64(bit & 63)
  }

  /// Adds a set's bits to another one of the same size.
  @inline(__always)
  func merge(_ set: Int32, into other: Int32) {
    let words = Int(bits[Int(set)])
    var word = 1
    while word <= words {
      bits[Int(other) &+ word] |= bits[Int(set) &+ word]
      word &+= 1
    }
  }

  mutating func enter(_ resource: Int32) {
    if scopeCount == scopeCapacity {
      let larger = UnsafeMutablePointer<Int32>.allocate(capacity: scopeCapacity * 2)
      larger.update(from: scope, count: scopeCount)
      scope.deallocate()
      scope = larger
      scopeCapacity *= 2
    }
    scope[scopeCount] = resource
    scopeCount += 1
  }
}

/// The JSON types of BSON values.
enum ValueTypes {
  /// Beyond `JSONTypes`: a double, which takes a look.
  static let double: UInt8 = 0x80
  /// An object that isn't a document in BSON.
  static let written: UInt8 = 0x81

  /// 256 entries by BSON type. They live as long as the program.
  static func table(_ style: JSONStyle) -> UnsafePointer<UInt8> {
    switch style {
    case .simplified: UnsafePointer(simplified.pointer)
    case .relaxed: UnsafePointer(relaxed.pointer)
    case .canonical: UnsafePointer(canonical.pointer)
    }
  }

  private static let simplified = Table { type in
    switch type {
    case .double: double
    case .null, .undefined: JSONTypes.null.rawValue
    case .bool: JSONTypes.boolean.rawValue
    case .int32, .int64: JSONTypes.integer.rawValue
    case .document: JSONTypes.object.rawValue
    case .array: JSONTypes.array.rawValue
    case .string, .symbol, .javascript, .objectID, .date, .decimal128, .binary:
      JSONTypes.string.rawValue
    case .timestamp, .regex, .javascriptWithScope, .dbPointer, .minKey, .maxKey: written
    }
  }

  private static let relaxed = Table { type in
    switch type {
    case .double: double
    case .null: JSONTypes.null.rawValue
    case .bool: JSONTypes.boolean.rawValue
    case .int32, .int64: JSONTypes.integer.rawValue
    case .document: JSONTypes.object.rawValue
    case .array: JSONTypes.array.rawValue
    case .string: JSONTypes.string.rawValue
    default: written
    }
  }

  private static let canonical = Table { type in
    switch type {
    case .null: JSONTypes.null.rawValue
    case .bool: JSONTypes.boolean.rawValue
    case .document: JSONTypes.object.rawValue
    case .array: JSONTypes.array.rawValue
    case .string: JSONTypes.string.rawValue
    default: written
    }
  }

  /// Safety invariant: filled in `init`, never changed or freed; held by static constants only.
  private struct Table: @unchecked Sendable {
    let pointer: UnsafeMutablePointer<UInt8>

    init(_ entry: (BSONType) -> UInt8) {
      pointer = .allocate(capacity: 256)
      pointer.initialize(repeating: 0, count: 256)
      for type in BSONType.allCases { pointer[Int(type.rawValue)] = entry(type) }
    }
  }
}
