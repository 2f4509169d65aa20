import Oplog

/// The parts of a change event that paths start from.
@frozen
public enum EventField: UInt8, Sendable, CaseIterable {
  case operationType, database, collection, clusterTime, wallTime, documentKey, fullDocument
  case updateDescription, txnNumber, lsid

  /// Its name in paths.
  public var name: String {
    switch self {
    case .operationType: "operationType"
    case .database: "ns.db"
    case .collection: "ns.coll"
    case .clusterTime: "clusterTime"
    case .wallTime: "wallTime"
    case .documentKey: "documentKey"
    case .fullDocument: "fullDocument"
    case .updateDescription: "updateDescription"
    case .txnNumber: "txnNumber"
    case .lsid: "lsid"
    }
  }

  /// Whether paths continue inside it.
  public var isDocument: Bool {
    switch self {
    case .documentKey, .fullDocument, .updateDescription, .lsid: true
    default: false
    }
  }

  /// The operations whose events can have it.
  public var operations: OperationSet {
    switch self {
    case .fullDocument: [OperationSet(.insert), OperationSet(.replace)]
    case .updateDescription: OperationSet(.update)
    case .documentKey: .documents
    default: OperationSet(rawValue: .max)
    }
  }
}

/// A path to one value of a change event: `fullDocument.u.username`.
public struct EventPath: Sendable, Equatable {
  public let field: EventField
  /// What follows the field, dots included; empty if the path is the field itself.
  public let remainder: String

  public init(parsing text: String) throws(RuleSyntaxError) {
    try self.init(parsing: text, offset: 0)
  }

  /// `offset`: where the path starts in the text that errors refer to.
  init(parsing text: String, offset: Int) throws(RuleSyntaxError) {
    var segments: [(text: String, at: Int)] = []
    var at = offset
    for segment in text.unicodeScalars.split(separator: ".", omittingEmptySubsequences: false) {
      segments.append((String(segment), at))
      at += segment.count + 1
    }
    if let empty = segments.first(where: { $0.text.isEmpty }) {
      throw RuleSyntaxError(
        text.isEmpty ? "an empty path" : "the path \(text) has an empty part",
        remedy: text.isEmpty
          ? "name a field of the change event, such as documentKey._id"
          : "write exactly one dot between two parts", at: empty.at)
    }
    try Self.checkEnds(of: text, at: offset)
    let field: EventField
    var consumed = 1
    if segments[0].text == "ns" {
      switch segments.count > 1 ? segments[1].text : "" {
      case "db": field = .database
      case "coll": field = .collection
      default:
        throw RuleSyntaxError(
          "the path \(text) is not a single value", remedy: "write ns.db or ns.coll",
          at: segments.count > 1 ? segments[1].at : offset)
      }
      consumed = 2
    } else if let known = EventField.allCases.first(where: { $0.name == segments[0].text }) {
      field = known
    } else {
      throw RuleSyntaxError(
        "a change event has no \(segments[0].text)",
        remedy: Self.rootRemedy(for: segments[0].text, path: text), at: offset)
    }
    if !field.isDocument, segments.count > consumed {
      throw RuleSyntaxError(
        "\(field.name) has no fields", remedy: "write \(field.name) alone",
        at: segments[consumed].at)
    }
    if field == .updateDescription, segments.count > consumed {
      try Self.checkPart(of: .updateDescription, segments[consumed].text, at: segments[consumed].at)
    }
    self.field = field
    self.remainder = segments[consumed...].map(\.text).joined(separator: ".")
  }

  /// An update's description always has the same parts: no path leads into another one.
  static func checkPart(
    of field: EventField, _ name: String, at offset: Int
  ) throws(RuleSyntaxError) {
    let parts = ["updatedFields", "removedFields", "truncatedArrays", "disambiguatedPaths"]
    guard field == .updateDescription, !parts.contains(name) else { return }
    throw RuleSyntaxError(
      "updateDescription has no \(name)",
      remedy: nearest(to: name, among: parts).map { "did you mean \($0)?" }
        ?? "its parts are \(parts.joined(separator: ", ")); "
        + "a field that an update sets is updateDescription.updatedFields.\(name)", at: offset)
  }

  /// `{ documentKey._id }`: white space would be a part of the names.
  static func checkEnds(of text: String, at offset: Int) throws(RuleSyntaxError) {
    guard text.first?.isWhitespace == true || text.last?.isWhitespace == true else { return }
    throw RuleSyntaxError(
      "the path begins or ends with white space", remedy: "write it without", at: offset)
  }

  static func rootRemedy(for root: String, path: String) -> String {
    let roots = EventField.allCases.map(\.name)
    if let near = nearest(to: root, among: roots) { return "did you mean \(near)?" }
    return "paths start with one of \(roots.joined(separator: ", ")); "
      + "a field of the document is fullDocument.\(path)"
  }
}

/// The candidate that `word` was probably meant to be: at most a third of it mistyped, and no more than
/// `most` letters.
package func nearest(to word: String, among candidates: [String], most: Int = .max) -> String? {
  let budget = min(max(1, word.count / 3), most)
  return candidates.map { ($0, editDistance(word.lowercased(), $0.lowercased())) }
    .filter { $0.1 <= budget }.min { $0.1 < $1.1 }?.0
}

/// Insertions, deletions, substitutions and swaps of neighbours that make `a` into `b`.
private func editDistance(_ a: String, _ b: String) -> Int {
  let a = Array(a)
  let b = Array(b)
  var beforeLast: [Int] = []
  var last = Array(0...b.count)
  for i in a.indices {
    var row = [i + 1]
    for j in b.indices {
      var best = min(last[j] + (a[i] == b[j] ? 0 : 1), last[j + 1] + 1, row[j] + 1)
      if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
        best = min(best, beforeLast[j - 1] + 1)
      }
      row.append(best)
    }
    beforeLast = last
    last = row
  }
  return last[b.count]
}
