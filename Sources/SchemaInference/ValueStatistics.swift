/// What values at one place are like: a node of the tree of all places. Merged with another's, it is as if it had
/// seen that one's values too.
final class ValueStatistics {
  var nulls = 0
  var trues = 0
  var falses = 0
  var numbers = NumberStatistics()
  var strings = StringStatistics()
  var arrays = 0
  var shortestArray = Int.max
  var longestArray = 0
  /// Of the items of all arrays here.
  var items: ValueStatistics?
  var objects: ObjectStatistics?
  /// Deeper than what is looked into.
  var opaque = 0

  let depth: Int

  init(depth: Int) { self.depth = depth }

  /// Values nested deeper than this are not looked into.
  static let maximumDepth = 40

  var count: Int {
    nulls + trues + falses + numbers.count + strings.count + arrays + (objects?.count ?? 0)
      + opaque
  }

  func observeArray(_ length: Int) {
    arrays += 1
    shortestArray = min(shortestArray, length)
    longestArray = max(longestArray, length)
  }

  var itemStatistics: ValueStatistics {
    if let items { return items }
    let made = ValueStatistics(depth: depth + 1)
    items = made
    return made
  }

  var objectStatistics: ObjectStatistics {
    if let objects { return objects }
    let made = ObjectStatistics(depth: depth)
    objects = made
    return made
  }

  func merge(_ other: ValueStatistics, _ memory: inout InferenceMemory) {
    nulls += other.nulls
    trues += other.trues
    falses += other.falses
    numbers.merge(other.numbers)
    strings.merge(other.strings)
    arrays += other.arrays
    shortestArray = min(shortestArray, other.shortestArray)
    longestArray = max(longestArray, other.longestArray)
    opaque += other.opaque
    if let theirs = other.items { itemStatistics.merge(theirs, &memory) }
    if let theirs = other.objects { objectStatistics.merge(theirs, &memory) }
  }

  /// The JSON types that are here, null left out.
  var kinds: Set<String> {
    var kinds: Set<String> = []
    if trues + falses > 0 { kinds.insert("boolean") }
    if numbers.count > 0 { kinds.insert("number") }
    if strings.count > 0 { kinds.insert("string") }
    if arrays > 0 { kinds.insert("array") }
    if objects != nil { kinds.insert("object") }
    return kinds
  }
}

/// What all places share: how much may still be kept of documents themselves.
struct InferenceMemory {
  /// Bytes of objects that are kept until it is decided if they are of several kinds.
  var kept = 0
  static let most = 8 << 20
  /// Places in all, and the bytes of their names: beyond this, new ones are put together.
  var places = 0
  static let mostPlaces = 50_000

  var mayKeep: Bool { kept < Self.most }
  var mayGrow: Bool { places < Self.mostPlaces }
}
