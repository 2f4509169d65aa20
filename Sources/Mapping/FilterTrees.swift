import BSON

/// The place of a walk through a document, relative to a filter's paths.
struct FilterState: Equatable {
  /// A state of the include tree, or `all`, or `none`.
  var include: Int32
  /// A state of the exclude tree, or `none` (nothing below is excluded), or `all` (this is).
  var exclude: Int32
  /// A state of the tree of changes, or `none` (nothing below is changed).
  var change: Int32
  /// The replacement of the value here.
  var redaction: Redaction?

  static let all: Int32 = -1
  static let none: Int32 = -2

  /// Everything from here on is written as it is.
  var isWhole: Bool {
    include == Self.all && exclude == Self.none && change == Self.none && redaction == nil
  }
  /// Nothing from here on is written.
  var isDropped: Bool { include == Self.none || exclude == Self.all }

  /// Nothing of a value is shown.
  var hidesAll: Bool { isDropped || redaction == .mask }

  static let whole = FilterState(include: all, exclude: none)
  static let dropped = FilterState(include: none, exclude: none)

  init(
    include: Int32, exclude: Int32, change: Int32 = FilterState.none, redaction: Redaction? = nil
  ) {
    self.include = include
    self.exclude = exclude
    self.change = change
    self.redaction = redaction
  }
}

/// The paths of all rules as trees in flat arrays: no reference counting while walking.
///
/// A key that is a number can be an array's index, which paths pass over, or what a path names; in an
/// update (`map.7.secret`) it is unknown which. Both apply at once, in documents and updates alike: a
/// state is the set of all places in the paths where a walk may be.
struct FilterTrees: ~Copyable {
  struct State {
    var firstEdge: Int32 = 0
    var edgeCount: Int32 = 0
    /// Where a number leads that no edge names, such as an array's index.
    var afterIndex: Int32 = FilterState.none
    /// Some key from here on gets another name.
    var hasRename = false
  }

  /// A key that paths name.
  struct Edge {
    var nameStart: Int32
    var nameCount: Int32
    /// A path ends here.
    var isLeaf = false
    /// Where it leads: a state, or `none` if no path continues.
    var target: Int32 = FilterState.none
    var redaction: Redaction?
    /// The key's new name, as a range of the names.
    var newNameStart: Int32 = 0
    var newNameCount: Int32 = 0
  }

  private var states: [State] = []
  private var edges: [Edge] = []
  private var names = ByteWriter(capacity: 256)
  /// Edges of states that have many, by state and name.
  private var byName = EdgeTable()
  /// Edges that rename, by state and new name.
  private var byNewName = EdgeTable()
  /// The lengths of the longest names.
  private var longestName = 0
  private var longestNewName = 0

  /// Up to this many edges are searched linearly.
  private static let fewEdges = 8

  // MARK: Building

  /// A new tree of the paths; its first state, or `empty` if there are none.
  mutating func add(_ paths: [[String]], empty: Int32) -> Int32 {
    guard !paths.isEmpty else { return empty }
    return add(FilterStates(PathTrie(paths), .paths(isInclude: empty == FilterState.all)))
  }

  /// A new tree of changes; its first state, or `none`.
  mutating func add(_ changes: [PayloadChanges.Change]) -> Int32 {
    guard !changes.isEmpty else { return FilterState.none }
    return add(FilterStates(PathTrie(changes), .changes))
  }

  private mutating func add(_ tree: FilterStates) -> Int32 {
    let base = Int32(states.count)
    for made in tree.states {
      let state = Int32(states.count)
      states.append(
        State(
          firstEdge: Int32(edges.count), edgeCount: Int32(made.edges.count),
          afterIndex: made.afterIndex.map { base + Int32($0) } ?? FilterState.none,
          hasRename: made.hasRename))
      for edge in made.edges {
        let name = keep(edge.name)
        let newName = keep(edge.newName ?? "")
        longestName = max(longestName, Int(name.count))
        longestNewName = max(longestNewName, Int(newName.count))
        let place = Int32(edges.count)
        if made.edges.count > Self.fewEdges {
          byName.insert(place, EdgeTable.hash(state, bytes(name.start, name.count)))
        }
        if newName.count > 0 {
          byNewName.insert(place, EdgeTable.hash(state, bytes(newName.start, newName.count)))
        }
        edges.append(
          Edge(
            nameStart: name.start, nameCount: name.count, isLeaf: edge.isLeaf,
            target: edge.target.map { base + Int32($0) } ?? FilterState.none,
            redaction: edge.redaction, newNameStart: newName.start, newNameCount: newName.count))
      }
    }
    return base
  }

  private mutating func keep(_ name: String) -> (start: Int32, count: Int32) {
    let start = Int32(names.count)
    names.append(name)
    return (start, Int32(names.count) - start)
  }

  @inline(__always)
  private func bytes(_ start: Int32, _ count: Int32) -> UnsafeRawBufferPointer {
    let from = Int(start)
    return UnsafeRawBufferPointer(rebasing: names.bytes[from..<(from &+ Int(count))])
  }

  // MARK: Walking

  /// The edge, or -1.
  func edge(from state: Int32, named name: UnsafeRawBufferPointer) -> Int32 {
    guard name.count <= longestName else { return -1 }
    let from = states[Int(state)]
    if from.edgeCount > Self.fewEdges {
      return byName.first(EdgeTable.hash(state, name)) { edge in
        edge >= from.firstEdge && edge < from.firstEdge &+ from.edgeCount
          && isName(name, of: edge)
      }
    }
    var edge = from.firstEdge
    let end = edge &+ from.edgeCount
    while edge < end {
      if isName(name, of: edge) { return edge }
      edge &+= 1
    }
    return -1
  }

  private func isName(_ name: UnsafeRawBufferPointer, of edge: Int32) -> Bool {
    let candidate = edges[Int(edge)]
    guard Int(candidate.nameCount) == name.count else { return false }
    return bytes(candidate.nameStart, candidate.nameCount).equals(name)
  }

  /// Where a key leads in a tree of include or exclude.
  @inline(__always)
  private func follow(
    _ state: Int32, _ segment: UnsafeRawBufferPointer, isIndex: Bool
  ) -> Int32 {
    let edge = edge(from: state, named: segment)
    guard edge >= 0 else { return isIndex ? states[Int(state)].afterIndex : FilterState.none }
    return edges[Int(edge)].isLeaf ? FilterState.all : edges[Int(edge)].target
  }

  /// Goes one key down. A key with dots (`a.0.b`, as updates have them) goes down part by part;
  /// numbers are passed over, so that paths reach into each element of an array, and may be named as
  /// well. `inArray`: the key is an array element's.
  ///
  /// The walk ends at a redacted value, which is redacted as a whole: other paths into it have no effect, in
  /// documents and updates alike.
  func step(_ state: FilterState, key: UnsafeRawBufferPointer, inArray: Bool) -> FilterState {
    var next = state
    if next.redaction != nil { return next }
    var start = 0
    while start <= key.count, next.include >= 0 || next.exclude >= 0 || next.change >= 0 {
      var end = start
      while end < key.count, inArray || key[end] != UInt8(ascii: ".") { end += 1 }
      let segment = UnsafeRawBufferPointer(rebasing: key[start..<end])
      let isIndex = inArray || Self.isIndex(segment)
      if next.include >= 0 { next.include = follow(next.include, segment, isIndex: isIndex) }
      if next.exclude >= 0 { next.exclude = follow(next.exclude, segment, isIndex: isIndex) }
      if next.change >= 0 {
        let edge = edge(from: next.change, named: segment)
        if edge >= 0 {
          next.redaction = edges[Int(edge)].redaction
          if next.redaction != nil {
            next.change = FilterState.none
            return next
          }
          next.change = edges[Int(edge)].target
        } else {
          next.change = isIndex ? states[Int(next.change)].afterIndex : FilterState.none
        }
      }
      start = end + 1
    }
    return next
  }

  /// Where a part of a path leads in a tree of changes.
  func follow(
    _ change: Int32, _ segment: UnsafeRawBufferPointer
  ) -> (state: Int32, isRedacted: Bool) {
    let edge = edge(from: change, named: segment)
    guard edge >= 0 else {
      return (Self.isIndex(segment) ? states[Int(change)].afterIndex : FilterState.none, false)
    }
    return (edges[Int(edge)].target, edges[Int(edge)].redaction != nil)
  }

  /// Writes a key, or a path of keys with dots, with renamed keys under their new names.
  func append(
    key: UnsafeRawBufferPointer, below state: FilterState, to out: inout ByteWriter
  ) {
    var change = state.change
    var start = 0
    while start <= key.count {
      var end = start
      while end < key.count, key[end] != UInt8(ascii: ".") { end += 1 }
      let segment = UnsafeRawBufferPointer(rebasing: key[start..<end])
      if start > 0 { out.append(UInt8(ascii: ".")) }
      change = append(segment: segment, at: change, to: &out)
      start = end + 1
    }
  }

  /// Writes one part of a path under its new name, if it gets one; the state after it.
  func append(
    segment: UnsafeRawBufferPointer, at change: Int32, to out: inout ByteWriter
  ) -> Int32 {
    guard change >= 0 else {
      out.append(segment)
      return FilterState.none
    }
    let edge = edge(from: change, named: segment)
    guard edge >= 0 else {
      out.append(segment)
      return Self.isIndex(segment) ? states[Int(change)].afterIndex : FilterState.none
    }
    let found = edges[Int(edge)]
    out.append(found.newNameCount > 0 ? newName(of: edge) : segment)
    return found.target
  }

  /// Whether a part of a path, which gets the name `written`, has that because of a rename, or has a name
  /// that another one gets.
  @inline(__always)
  func mayCollide(_ written: UnsafeRawBufferPointer, own: Int32, at change: Int32) -> Bool {
    if own >= 0, edges[Int(own)].newNameCount > 0 { return true }
    guard written.count <= longestNewName else { return false }
    let state = states[Int(change)]
    return byNewName.first(EdgeTable.hash(change, written)) { edge in
      edge >= state.firstEdge && edge < state.firstEdge &+ state.edgeCount
        && newName(of: edge).equals(written)
    } >= 0
  }

  /// Whether some part of the key has a new name, or one that another key gets.
  func mayCollide(key: UnsafeRawBufferPointer, at change: Int32) -> Bool {
    var change = change
    var start = 0
    while start <= key.count, change >= 0 {
      var end = start
      while end < key.count, key[end] != UInt8(ascii: ".") { end += 1 }
      let segment = UnsafeRawBufferPointer(rebasing: key[start..<end])
      let own = edge(from: change, named: segment)
      if mayCollide(segment, own: own, at: change) { return true }
      change = target(of: own, segment, at: change)
      start = end + 1
    }
    return false
  }

  /// The name of a part of a path in the body.
  @inline(__always)
  func written(_ segment: UnsafeRawBufferPointer, own edge: Int32) -> UnsafeRawBufferPointer {
    edge >= 0 && edges[Int(edge)].newNameCount > 0 ? newName(of: edge) : segment
  }

  /// Where a part of a path leads in a tree of changes; `edge`: its own.
  @inline(__always)
  func target(of edge: Int32, _ segment: UnsafeRawBufferPointer, at change: Int32) -> Int32 {
    if edge >= 0 { return edges[Int(edge)].target }
    return Self.isIndex(segment) ? states[Int(change)].afterIndex : FilterState.none
  }

  /// The bytes keep their addresses once the trees are built.
  private func newName(of edge: Int32) -> UnsafeRawBufferPointer {
    let found = edges[Int(edge)]
    return bytes(found.newNameStart, found.newNameCount)
  }

  /// Whether some key from here on gets another name.
  func renames(below change: Int32) -> Bool { change >= 0 && states[Int(change)].hasRename }

  static func isIndex(_ segment: UnsafeRawBufferPointer) -> Bool {
    !segment.isEmpty && segment.allSatisfy { $0 >= 48 && $0 <= 57 }
  }

  static func isIndex(_ segment: String) -> Bool {
    !segment.isEmpty && segment.utf8.allSatisfy { $0 >= 48 && $0 <= 57 }
  }
}
