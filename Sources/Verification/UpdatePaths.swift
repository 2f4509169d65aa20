import Mapping

extension Rule {
  /// A path into `updateDescription` that changes what updates show, and not what documents show.
  var pathOfUpdates: String? {
    /// The document's fields that the path is about; nil if it is not about what updates do.
    func fields(_ path: String, in parts: [String]) -> String? {
      let steps = path.split(separator: ".", maxSplits: 2).map(String.init)
      guard steps[0] == "updateDescription" else { return nil }
      guard steps.count > 1 else { return "fullDocument" }
      guard parts.contains(steps[1]) else { return nil }
      return steps.count > 2 ? "fullDocument.\(steps[2])" : "fullDocument"
    }
    func isNamed(_ field: String, by paths: [String]) -> Bool {
      paths.contains { field == $0 || field.hasPrefix("\($0).") }
    }
    let (include, exclude) = (filter.include, filter.exclude)
    let left = exclude.first { path in
      fields(path, in: ["updatedFields", "removedFields", "truncatedArrays"])
        .map { !isNamed($0, by: exclude) } ?? false
    }
    guard include.contains(where: { $0.hasPrefix("fullDocument") }) else { return left }
    return left
      ?? include.first { path in
        fields(path, in: ["updatedFields"]).map { !isNamed($0, by: include) } ?? false
      }
  }
}
