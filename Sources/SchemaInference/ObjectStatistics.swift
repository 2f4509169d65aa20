import JSON

/// What objects at one place are like: their members; or, where the value of one member decides which others there
/// are, those of each kind.
final class ObjectStatistics {
  let depth: Int
  private(set) var count = 0
  var table = FieldTable()
  /// Members under names that are data rather than fields, put together.
  var rest: ValueStatistics?
  var restNames = StringStatistics()
  /// The kinds, once there are any.
  private(set) var kinds: ObjectKinds?
  /// Whole objects, until it is decided whether there are kinds; nil afterwards.
  private var kept: [[UInt8]]? = []
  private var keptBytes = 0

  /// So many objects decide whether there are kinds.
  static let deciding = 400
  private static let mostKeptBytes = 1 << 18
  private static let depthOfKinds = 4
  /// With more names, the rare ones are put together.
  private static let mostFields = 512

  init(depth: Int) { self.depth = depth }

  // MARK: Observing

  /// - Parameter object: its text; the scanner stands behind its opening bracket.
  func observe(
    _ scanner: inout JSONScanner, _ reader: inout StatisticsReader
  ) throws(JSONError) {
    if let kinds {
      count += 1
      let isOver = try kinds.observe(&scanner, &reader, depth: depth)
      if isOver { giveUpKinds(&reader.memory) }
      return
    }
    let start = scanner.offset
    try observeMembers(&scanner, &reader)
    guard kept != nil else { return }
    keep(reader.text(from: start - 1, to: scanner.offset), &reader.memory)
    if let kept, kept.count >= Self.deciding { try decide(&reader) }
  }

  /// Takes note of an object that is of no kind, or of this one.
  func observeMembers(
    _ scanner: inout JSONScanner, _ reader: inout StatisticsReader
  ) throws(JSONError) {
    count += 1
    table.beginObject()
    var isFirst = true
    while try scanner.hasNext(&isFirst, until: "}") {
      try scanner.beginName()
      try reader.name(&scanner) { (name, scanner, reader) throws(JSONError) in
        let value = self.value(name, &reader.memory)
        try scanner.endName()
        try reader.value(&scanner, value)
      }
    }
  }

  /// Where the value of a member is observed.
  private func value(
    _ name: UnsafeRawBufferPointer, _ memory: inout InferenceMemory
  ) -> ValueStatistics {
    if let index = table.find(name) {
      table.note(index, object: count)
      return table.fields[index].value
    }
    if table.fields.count >= Self.mostFields || !memory.mayGrow { foldRareNames(&memory) }
    if rest != nil || table.fields.count >= Self.mostFields || !memory.mayGrow {
      restNames.observe(name)
      return restStatistics
    }
    memory.places += 1
    let index = table.add(name, depth: depth + 1)
    table.note(index, object: count)
    return table.fields[index].value
  }

  /// Whether an object has had a member more than once.
  func hasRepeated(_ name: [UInt8]) -> Bool {
    guard let index = name.withUnsafeBytes({ table.find($0) }) else { return false }
    return table.fields[index].value.count > table.fields[index].presence
  }

  private var restStatistics: ValueStatistics {
    if let rest { return rest }
    let made = ValueStatistics(depth: depth + 1)
    rest = made
    return made
  }

  /// Puts the members together that few objects have.
  private func foldRareNames(_ memory: inout InferenceMemory) {
    guard rest == nil else { return }
    let least = max(2, count / 10)
    let rare = table.remove { $0.presence < least }
    memory.places -= rare.count
    for field in rare { addToRest(field, &memory) }
  }

  func addToRest(_ field: FieldTable.Field, _ memory: inout InferenceMemory) {
    field.name.withUnsafeBytes { restNames.observe($0, times: field.presence) }
    restStatistics.merge(field.value, &memory)
  }

  private func keep(_ text: UnsafeRawBufferPointer, _ memory: inout InferenceMemory) {
    guard depth <= Self.depthOfKinds, memory.mayKeep,
      keptBytes + text.count <= Self.mostKeptBytes
    else {
      // What there is has to do.
      return stopKeeping(&memory)
    }
    keptBytes += text.count
    memory.kept += text.count
    kept?.append(Array(text))
  }

  private func stopKeeping(_ memory: inout InferenceMemory) {
    memory.kept -= keptBytes
    keptBytes = 0
    kept = nil
  }

  // MARK: Kinds

  /// Decides by the objects that were kept; later ones are taken by that.
  func decide(_ reader: inout StatisticsReader) throws(JSONError) {
    guard let objects = kept else { return }
    stopKeeping(&reader.memory)
    guard objects.count == count,
      let name = KindSearch(table.fields, objects).name
    else { return }
    kinds = ObjectKinds(name: name)
    count = 0
    reader.memory.places -= table.fields.count
    table = FieldTable()
    for object in objects { try replay(object, &reader) }
  }

  private func replay(_ object: [UInt8], _ reader: inout StatisticsReader) throws(JSONError) {
    try reader.within(object) { (scanner, reader) throws(JSONError) in
      _ = scanner.eat("{")
      try self.observe(&scanner, &reader)
    }
  }

  private func giveUpKinds(_ memory: inout InferenceMemory) {
    guard let kinds else { return }
    self.kinds = nil
    count = 0
    for part in kinds.all { mergeMembers(part, &memory) }
  }

  // MARK: Merging

  func merge(_ other: ObjectStatistics, _ memory: inout InferenceMemory) {
    if count == 0, kinds == nil, let theirs = other.kinds {
      let mine = ObjectKinds(name: theirs.name)
      mine.merge(theirs, depth: depth, &memory)
      kinds = mine
      count = other.count
      stopKeeping(&memory)
      return
    }
    if let mine = kinds, let theirs = other.kinds, mine.name == theirs.name {
      count += other.count
      mine.merge(theirs, depth: depth, &memory)
      if mine.isTooMany { giveUpKinds(&memory) }
      return
    }
    // One of them may have seen too little to know. Its objects are kept.
    if let theirs = other.kept, theirs.count == other.count, kept != nil || kinds != nil {
      var reader = StatisticsReader(memory: memory)
      for object in theirs {
        // They have been read once already.
        try? replay(object, &reader)
      }
      memory = reader.memory
      return
    }
    if let mine = kept, mine.count == count, other.kinds != nil {
      let objects = mine
      self.reset()
      merge(other, &memory)
      var reader = StatisticsReader(memory: memory)
      for object in objects { try? replay(object, &reader) }
      memory = reader.memory
      return
    }
    giveUpKinds(&memory)
    stopKeeping(&memory)
    if let theirs = other.kinds {
      for part in theirs.all { mergeMembers(part, &memory) }
    } else {
      mergeMembers(other, &memory)
    }
  }

  private func reset() {
    count = 0
    table = FieldTable()
    rest = nil
    restNames = StringStatistics()
  }

  /// Adds the members of one that has no kinds.
  func mergeMembers(_ other: ObjectStatistics, _ memory: inout InferenceMemory) {
    // Names that were put together here are put together.
    for field in other.table.fields {
      field.name.withUnsafeBytes { name in
        if let index = table.find(name) {
          table.fields[index].value.merge(field.value, &memory)
          table.add(presence: field.presence, to: index)
        } else if rest != nil || table.fields.count >= Self.mostFields {
          addToRest(field, &memory)
        } else {
          memory.places += 1
          let index = table.add(name, depth: depth + 1)
          table.fields[index].value.merge(field.value, &memory)
          table.add(presence: field.presence, to: index)
        }
      }
    }
    count += other.count
    if let theirs = other.rest {
      if rest == nil { foldRareNames(&memory) }
      restStatistics.merge(theirs, &memory)
      restNames.merge(other.restNames)
    }
  }
}
