/// The members that objects at one place have, by name, in the order in which they were met first.
struct FieldTable {
  struct Field {
    var name: [UInt8]
    var value: ValueStatistics
    /// The number of objects that have it.
    var presence = 0
    /// The last object that had it, so that a repeated name counts once.
    var last = 0
  }

  private(set) var fields: [Field] = []
  private var numbers: [UInt64: Int] = [:]
  /// The field that is expected next: objects at one place mostly have the same order.
  private var expected = 0

  /// How many names beyond the expected one are tried before looking up.
  private static let guesses = 3

  mutating func find(_ name: UnsafeRawBufferPointer) -> Int? {
    for step in 0..<Self.guesses {
      let index = expected + step
      guard index < fields.count else { break }
      if isNamed(index, name) {
        expected = index + 1
        return index
      }
    }
    var hash = Self.hash(name)
    while let index = numbers[hash] {
      if isNamed(index, name) {
        expected = index + 1
        return index
      }
      hash &+= 1
    }
    return nil
  }

  mutating func beginObject() { expected = 0 }

  private func isNamed(_ index: Int, _ name: UnsafeRawBufferPointer) -> Bool {
    fields[index].name.count == name.count && fields[index].name.elementsEqual(name)
  }

  mutating func add(_ name: UnsafeRawBufferPointer, depth: Int) -> Int {
    var hash = Self.hash(name)
    while numbers[hash] != nil { hash &+= 1 }
    numbers[hash] = fields.count
    fields.append(Field(name: Array(name), value: ValueStatistics(depth: depth)))
    expected = fields.count
    return fields.count - 1
  }

  /// Counts a field once for each object.
  mutating func note(_ index: Int, object: Int) {
    guard fields[index].last != object else { return }
    fields[index].last = object
    fields[index].presence += 1
  }

  mutating func add(presence: Int, to index: Int) { fields[index].presence += presence }

  /// Keeps some fields; returns the others.
  mutating func remove(where isRemoved: (Field) -> Bool) -> [Field] {
    let removed = fields.filter(isRemoved)
    let kept = fields.filter { !isRemoved($0) }
    self = FieldTable()
    for field in kept {
      field.name.withUnsafeBytes { name in
        let index = add(name, depth: 0)
        fields[index] = field
      }
    }
    return removed
  }

  private static func hash(_ name: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return hash
  }
}
