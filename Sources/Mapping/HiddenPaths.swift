/// Whether a rule keeps out of its bodies what a path names.
extension Rule {
  /// The path of `exclude` or `redact` that hides the value, as configured; nil if bodies may show it.
  ///
  /// `exclude: [fullDocument]`, a whole part of the event, chooses what bodies hold rather than hides a field,
  /// as `include` does.
  public func hidingPath(of path: EventPath) -> String? {
    let hiding = hidingPath(of: path.segments)
    guard hiding != nil, path.field == .fullDocument, path.isOfID else { return hiding }
    // Bodies show the same value in documentKey unless it is hidden there as well.
    return hidingPath(of: ["documentKey"] + path.segments.dropFirst())
  }

  private func hidingPath(of segments: [String]) -> String? {
    // A constant replaces the field.
    let constants = envelope == .document ? changes.constants.map { "fullDocument.\($0.name)" } : []
    return filter.hidingPath(of: segments, except: constants)
      ?? changes.hidingPath(of: segments)
  }
}

extension PayloadFilter {
  fileprivate func hidingPath(of segments: [String], except constants: [String]) -> String? {
    exclude.first { text in
      guard !constants.contains(text), let path = try? Path(exclude: text) else { return false }
      return Self.hidden(by: path.segments).contains { $0.leads(to: segments) }
    }
  }

  private static func hidden(by segments: [String]) -> [[String]] {
    switch segments.first {
    case "documentKey": [segments]
    case "fullDocument", "updateDescription": segments.count > 1 ? meanings(segments) : []
    default: []
    }
  }
}

extension PayloadChanges {
  fileprivate func hidingPath(of segments: [String]) -> String? {
    redactions.first { redacted in
      Self.redacted(by: redacted.path.segments).contains { $0.leads(to: segments) }
    }?.path.text
  }
}

extension EventPath {
  fileprivate var segments: [String] {
    [field.name] + remainder.split(separator: ".").map(String.init)
  }

  fileprivate var isOfID: Bool { remainder == "_id" || remainder.hasPrefix("_id.") }
}

extension [String] {
  /// Whether a path of a filter names the value at `path`, or something around it. Numbers may be indexes of
  /// arrays, which paths of filters pass over.
  fileprivate func leads(to path: [String]) -> Bool {
    guard let first, let root = path.first, first == root else { return false }
    return self[1...].leads(to: path[1...])
  }
}

extension ArraySlice<String> {
  fileprivate func leads(to path: ArraySlice<String>) -> Bool {
    guard let first else { return true }
    guard let segment = path.first else { return false }
    if first == segment, dropFirst().leads(to: path.dropFirst()) { return true }
    return FilterTrees.isIndex(segment) && leads(to: path.dropFirst())
  }
}
