import BSON

/// Which parts of a change event a payload holds: `include` and `exclude` of a rule.
///
/// - `include` empty means everything. Otherwise, of `fullDocument` and `updateDescription` only
///   what it names is left; `documentKey` stays whole unless a path goes into it; the event's own
///   facts (operation, times, namespace) always stay.
/// - `exclude` is applied after it and may name any field but `operationType`.
/// - A path into `fullDocument` means the same field in `updateDescription` and in
///   `fullDocumentBeforeChange`, so that what is kept out of documents does not come back there.
/// - Paths go through arrays: `attachments.url` means the `url` of each attachment.
public struct PayloadFilter: Sendable, Equatable {
  /// Canonical text of the paths, as configured.
  public let include: [String]
  public let exclude: [String]
  /// The paths split at dots, mirrored where a path into `fullDocument` means updates too.
  let includePaths: [[String]]
  let excludePaths: [[String]]

  public static let everything = PayloadFilter()

  private init() {
    include = []
    exclude = []
    includePaths = []
    excludePaths = []
  }

  /// Takes paths that `path(parsing:)` accepted.
  public init(include: [Path], exclude: [Path]) {
    self.include = include.map(\.text)
    self.exclude = exclude.map(\.text)
    includePaths = include.flatMap { path in
      switch path.segments.first {
      case "fullDocument" where path.segments.count == 1:
        [path.segments, ["updateDescription"], Self.beforeChange(path.segments)]
      case "fullDocument":
        [path.segments, Self.mirrored(path.segments), Self.beforeChange(path.segments)]
      default: [path.segments]
      }
    }
    excludePaths = exclude.flatMap { path in
      path.segments.first == "fullDocument" && path.segments.count > 1
        ? [path.segments, Self.mirrored(path.segments), Self.beforeChange(path.segments)]
        : [path.segments]
    }
  }

  /// Nothing of `fullDocument` passes.
  public var leavesNoDocument: Bool {
    exclude.contains("fullDocument")
      || !include.isEmpty && !includePaths.contains { $0.first == "fullDocument" }
  }

  private static func beforeChange(_ segments: [String]) -> [String] {
    ["fullDocumentBeforeChange"] + segments.dropFirst()
  }

  private static func mirrored(_ segments: [String]) -> [String] {
    ["updateDescription", "updatedFields"] + segments.dropFirst()
  }

  /// One path of a filter.
  public struct Path: Sendable, Equatable {
    public let text: String
    let segments: [String]

    public init(include text: String) throws(RuleSyntaxError) {
      try self.init(text, roots: Self.documents, leaves: [])
    }

    public init(exclude text: String) throws(RuleSyntaxError) {
      try self.init(
        text, roots: Self.documents,
        leaves: ["clusterTime", "wallTime", "ns", "txnNumber", "lsid", "collectionUUID"])
    }

    private static let documents = [
      "fullDocument", "updateDescription", "documentKey", "fullDocumentBeforeChange",
    ]

    private init(_ text: String, roots: [String], leaves: [String]) throws(RuleSyntaxError) {
      let segments = text.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      var at = 0
      for segment in segments {
        guard !segment.isEmpty else {
          throw RuleSyntaxError(
            text.isEmpty ? "an empty path" : "the path \(text) has an empty part",
            remedy: text.isEmpty
              ? "name a field, such as fullDocument.secret"
              : "write exactly one dot between two parts", at: at)
        }
        at += segment.unicodeScalars.count + 1
      }
      let root = segments[0]
      if leaves.contains(root) {
        guard segments.count == 1 else {
          throw RuleSyntaxError(
            "only \(root) as a whole can be left out", remedy: "write \(root)",
            at: root.unicodeScalars.count + 1)
        }
      } else if !roots.contains(root) {
        let near = nearest(to: root, among: roots + leaves)
        throw RuleSyntaxError(
          "a path can't start with \(root)",
          remedy: near.map { "did you mean \($0)?" }
            ?? "start with \((roots + leaves).joined(separator: ", ")); "
            + "a field of the document is fullDocument.\(text)", at: 0)
      }
      self.text = text
      self.segments = segments
    }
  }
}

/// Where a walk through a document stands relative to a filter's paths.
struct FilterState: Equatable {
  /// A node of the include tree, or `all`, or `none`.
  var include: Int32
  /// A node of the exclude tree, or `none` (nothing below is excluded), or `all` (this is).
  var exclude: Int32

  static let all: Int32 = -1
  static let none: Int32 = -2

  /// Everything from here on is written as it is.
  var isWhole: Bool { include == Self.all && exclude == Self.none }
  /// Nothing from here on is written.
  var isDropped: Bool { include == Self.none || exclude == Self.all }

  static let whole = FilterState(include: all, exclude: none)
  static let dropped = FilterState(include: none, exclude: none)

  init(include: Int32, exclude: Int32) {
    self.include = include
    self.exclude = exclude
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
    var start = 0
    while start <= key.count, include >= 0 || exclude >= 0 {
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
      start = end + 1
    }
    return FilterState(include: include, exclude: exclude)
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
