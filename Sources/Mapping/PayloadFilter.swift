import BSON

/// Which parts of a change event a payload holds: `include` and `exclude` of a rule.
///
/// - `include` empty means everything. Otherwise, of `fullDocument` and `updateDescription` only
///   what it names is left; `documentKey` stays whole unless a path goes into it; the event's own
///   facts (operation, times, namespace) always stay.
/// - `exclude` is applied after it and may name any field but `operationType`.
/// - A path into `fullDocument` means the same field in `updateDescription` and in
///   `fullDocumentBeforeChange`, so that what is kept out of documents does not come back there. One of
///   `exclude` means the same field of `documentKey` as well, but for `_id` as a whole.
/// - Paths go through arrays: `attachments.url` means the `url` of each attachment. They go through keys
///   that are numbers just so, since an update doesn't distinguish them from indexes.
public struct PayloadFilter: Sendable, Equatable {
  /// Canonical text of the paths, as configured.
  public let include: [String]
  public private(set) var exclude: [String]
  /// The paths split at dots, mirrored where a path into `fullDocument` means updates too.
  let includePaths: [[String]]
  private(set) var excludePaths: [[String]]

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
    excludePaths = exclude.flatMap { Self.meanings($0.segments) }
  }

  /// The path of `exclude`, with the paths that one into `fullDocument` means besides.
  static func meanings(_ segments: [String]) -> [[String]] {
    guard segments.first == "fullDocument", segments.count > 1 else { return [segments] }
    return [segments, mirrored(segments), beforeChange(segments)] + inKey(segments)
  }

  /// Without `updateDescription.disambiguatedPaths`.
  public func excludingDisambiguatedPaths() -> PayloadFilter {
    guard let path = try? Path(exclude: "updateDescription.disambiguatedPaths") else { return self }
    var filter = self
    filter.exclude.append(path.text)
    filter.excludePaths.append(path.segments)
    return filter
  }

  /// Nothing of `fullDocument` passes.
  public var leavesNoDocument: Bool {
    exclude.contains("fullDocument")
      || !include.isEmpty && !includePaths.contains { $0.first == "fullDocument" }
  }

  static func beforeChange(_ segments: [String]) -> [String] {
    ["fullDocumentBeforeChange"] + segments.dropFirst()
  }

  /// What is hidden of a document is hidden of its key (which may hold more than `_id`, where a
  /// collection is sharded); but for `_id` as a whole, without which nobody knows which document it is.
  private static func inKey(_ segments: [String]) -> [[String]] {
    segments == ["fullDocument", "_id"] ? [] : [["documentKey"] + segments.dropFirst()]
  }

  static func mirrored(_ segments: [String]) -> [String] {
    ["updateDescription", "updatedFields"] + segments.dropFirst()
  }

  /// One path of a filter.
  public struct Path: Sendable, Equatable {
    public let text: String
    let segments: [String]

    /// It is of a field of the document itself.
    public var isTopLevel: Bool { segments.count == 2 }

    public init(include text: String) throws(RuleSyntaxError) {
      try self.init(text, roots: Self.documents, leaves: [])
    }

    public init(exclude text: String) throws(RuleSyntaxError) {
      try self.init(
        text, roots: Self.documents + ["operationDescription", "stateBeforeChange"],
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
      try EventPath.checkEnds(of: text, at: 0)
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
      } else if root == "updateDescription", segments.count > 1 {
        try EventPath.checkPart(
          of: .updateDescription, segments[1], at: root.unicodeScalars.count + 1)
      }
      self.text = text
      self.segments = segments
    }
  }
}
