/// The paths of one filter as they were written, segment by segment: what `FilterTrees` makes its states
/// of.
struct PathTrie {
  struct Node {
    var children: [(name: String, node: Int)] = []
    /// A path ends here.
    var isLeaf = false
    var redaction: Redaction?
    var newName: String?
    /// A path that goes through here, or ends here, gives a key another name.
    var hasRename = false
    /// Some path continues with a name that is no number.
    var namesFields = false
  }

  private(set) var nodes = [Node()]

  /// Paths that leave something out, or in. What a shorter path covers, a longer one adds nothing to.
  init(_ paths: [[String]]) {
    for path in paths {
      var node = 0
      for segment in path {
        if nodes[node].isLeaf { break }
        node = child(of: node, named: segment)
      }
      nodes[node].isLeaf = true
    }
  }

  init(_ changes: [PayloadChanges.Change]) {
    for change in changes {
      var node = 0
      var way = [0]
      for segment in change.segments {
        node = child(of: node, named: segment)
        way.append(node)
      }
      switch change.action {
      case .redact(let redaction): nodes[node].redaction = redaction
      case .rename(let name):
        nodes[node].newName = name
        for node in way { nodes[node].hasRename = true }
      }
    }
  }

  private mutating func child(of node: Int, named name: String) -> Int {
    // By bytes: two spellings of one character are two keys.
    if let found = nodes[node].children.first(where: { $0.name.utf8.elementsEqual(name.utf8) }) {
      return found.node
    }
    nodes.append(Node())
    nodes[node].children.append((name, nodes.count - 1))
    if !FilterTrees.isIndex(name) { nodes[node].namesFields = true }
    return nodes.count - 1
  }
}
