import BSON

/// Where a walk through a document stands relative to a filter's paths.
struct FilterState: Equatable {
  /// A node of the include tree, or `all`, or `none`.
  var include: Int32
  /// A node of the exclude tree, or `none` (nothing below is excluded), or `all` (this is).
  var exclude: Int32
  /// A node of the tree of changes, or `none` (nothing below is changed).
  var change: Int32
  /// What the value here is replaced by.
  var redaction: Redaction?

  static let all: Int32 = -1
  static let none: Int32 = -2

  /// Everything from here on is written as it is.
  var isWhole: Bool {
    include == Self.all && exclude == Self.none && change == Self.none && redaction == nil
  }
  /// Nothing from here on is written.
  var isDropped: Bool { include == Self.none || exclude == Self.all }

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
struct FilterTrees: ~Copyable {
  struct Node {
    var nameStart: Int32
    var nameCount: Int32
    var firstChild: Int32 = FilterState.none
    var nextSibling: Int32 = FilterState.none
    /// A path ends here.
    var isLeaf = false
    var redaction: Redaction?
    /// Where the key's new name stands among the names.
    var newNameStart: Int32 = 0
    var newNameCount: Int32 = 0
  }

  private var nodes: [Node] = []
  private var names: [UInt8] = []

  /// A new tree holding the paths; its root, or `empty` where there are none.
  mutating func add(_ paths: [[String]], empty: Int32) -> Int32 {
    guard !paths.isEmpty else { return empty }
    let root = newNode("")
    for path in paths {
      var node = root
      for segment in path {
        if nodes[Int(node)].isLeaf { break }
        if let child = self.child(of: node, named: Array(segment.utf8)) {
          node = child
        } else {
          let child = newNode(segment)
          nodes[Int(child)].nextSibling = nodes[Int(node)].firstChild
          nodes[Int(node)].firstChild = child
          node = child
        }
      }
      nodes[Int(node)].isLeaf = true
    }
    return root
  }

  /// A new tree of changes; its root, or `none`.
  mutating func add(_ changes: [PayloadChanges.Change]) -> Int32 {
    guard !changes.isEmpty else { return FilterState.none }
    let root = newNode("")
    for change in changes {
      var node = root
      for segment in change.segments {
        if let child = self.child(of: node, named: Array(segment.utf8)) {
          node = child
        } else {
          let child = newNode(segment)
          nodes[Int(child)].nextSibling = nodes[Int(node)].firstChild
          nodes[Int(node)].firstChild = child
          node = child
        }
      }
      switch change.action {
      case .redact(let redaction): nodes[Int(node)].redaction = redaction
      case .rename(let name):
        nodes[Int(node)].newNameStart = Int32(names.count)
        nodes[Int(node)].newNameCount = Int32(name.utf8.count)
        names.append(contentsOf: name.utf8)
      }
    }
    return root
  }

  private mutating func newNode(_ name: String) -> Int32 {
    nodes.append(Node(nameStart: Int32(names.count), nameCount: Int32(name.utf8.count)))
    names.append(contentsOf: name.utf8)
    return Int32(nodes.count - 1)
  }

  private func child(of node: Int32, named name: [UInt8]) -> Int32? {
    let found = name.withUnsafeBytes { child(of: node, named: $0) }
    return found == FilterState.none ? nil : found
  }

  private func child(of node: Int32, named name: UnsafeRawBufferPointer) -> Int32 {
    var child = nodes[Int(node)].firstChild
    while child != FilterState.none {
      let candidate = nodes[Int(child)]
      if Int(candidate.nameCount) == name.count {
        let same = names.withUnsafeBytes { bytes in
          UnsafeRawBufferPointer(
            rebasing: bytes[
              Int(candidate.nameStart)..<Int(candidate.nameStart + candidate.nameCount)]
          ).equals(name)
        }
        if same { return child }
      }
      child = candidate.nextSibling
    }
    return FilterState.none
  }

  /// Goes one key down. A key with dots (`a.0.b`, as updates have them) goes down part by part;
  /// array indexes are passed over, so that paths reach into each element, unless the paths name
  /// elements by index here.
  func step(_ state: FilterState, key: UnsafeRawBufferPointer, inArray: Bool) -> FilterState {
    var include = state.include
    var exclude = state.exclude
    var change = state.change
    var redaction = state.redaction
    var start = 0
    while start <= key.count, include >= 0 || exclude >= 0 || change >= 0 {
      var end = start
      while end < key.count, key[end] != UInt8(ascii: ".") { end += 1 }
      let segment = UnsafeRawBufferPointer(rebasing: key[start..<end])
      let mayBeIndex = inArray || start > 0
      if include >= 0 {
        let next = child(of: include, named: segment)
        if next >= 0 {
          include = nodes[Int(next)].isLeaf ? FilterState.all : next
        } else if !(mayBeIndex && Self.isIndex(segment)) || namesOnlyIndexes(include) {
          include = FilterState.none
        }
      }
      if exclude >= 0 {
        let next = child(of: exclude, named: segment)
        if next >= 0 {
          exclude = nodes[Int(next)].isLeaf ? FilterState.all : next
        } else if !(mayBeIndex && Self.isIndex(segment)) {
          exclude = FilterState.none
        }
      }
      if change >= 0 {
        let next = child(of: change, named: segment)
        if next >= 0 {
          let node = nodes[Int(next)]
          redaction = redaction ?? node.redaction
          change = node.firstChild >= 0 ? next : FilterState.none
        } else if !(mayBeIndex && Self.isIndex(segment)) {
          change = FilterState.none
        }
      }
      start = end + 1
    }
    return FilterState(
      include: include, exclude: exclude, change: change, redaction: redaction)
  }

  /// Writes a key, or a path of keys with dots, with the new names of those that are renamed.
  func append(
    key: UnsafeRawBufferPointer, below state: FilterState, inArray: Bool, to out: inout ByteWriter
  ) {
    var change = state.change
    var start = 0
    while start <= key.count {
      var end = start
      while end < key.count, key[end] != UInt8(ascii: ".") { end += 1 }
      let segment = UnsafeRawBufferPointer(rebasing: key[start..<end])
      if start > 0 { out.append(UInt8(ascii: ".")) }
      let next = change >= 0 ? child(of: change, named: segment) : FilterState.none
      if next >= 0 {
        let node = nodes[Int(next)]
        if node.newNameCount > 0 {
          names.withUnsafeBytes { bytes in
            let from = Int(node.newNameStart)
            out.append(
              UnsafeRawBufferPointer(rebasing: bytes[from..<(from + Int(node.newNameCount))]))
          }
        } else {
          out.append(segment)
        }
        change = next
      } else {
        out.append(segment)
        if !((inArray || start > 0) && Self.isIndex(segment)) { change = FilterState.none }
      }
      start = end + 1
    }
  }

  private func namesOnlyIndexes(_ node: Int32) -> Bool {
    var child = nodes[Int(node)].firstChild
    while child != FilterState.none {
      let candidate = nodes[Int(child)]
      let isIndex = names.withUnsafeBytes { bytes in
        let start = Int(candidate.nameStart)
        return Self.isIndex(
          UnsafeRawBufferPointer(rebasing: bytes[start..<(start &+ Int(candidate.nameCount))]))
      }
      if !isIndex { return false }
      child = candidate.nextSibling
    }
    return true
  }

  private static func isIndex(_ segment: UnsafeRawBufferPointer) -> Bool {
    !segment.isEmpty && segment.allSatisfy { $0 >= 48 && $0 <= 57 }
  }
}
