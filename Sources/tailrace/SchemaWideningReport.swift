import ArgumentParser
import BridgeConfiguration
import JSON
import JSONSchema
import Mapping
import SchemaDiff
import SchemaInference

/// `tailrace schema infer --from-dlq`: the smallest change of a rule's schema that accepts what it has refused.
struct SchemaWideningReport {
  let rule: String
  let bodies: Int
  let widening: SchemaWidening
  let comparison: SchemaComparison
  /// The schema's files as they are; the first is its own.
  private let files: [SchemaSource]
  /// The published version that the rule names.
  private let version: SchemaVersion?
  /// Other rules by file, where they use one that changes.
  private let users: [Int: [String]]

  /// - Parameter index: the rule's.
  /// - Throws: if the schema can't be compiled by itself.
  init(
    _ index: Int, of configuration: BridgeConfiguration, _ schema: RuleSchema,
    toAccept bodies: [JSONValue]
  ) throws(SchemaError) {
    rule = configuration.rules[index].name
    self.bodies = bodies.count
    files = schema.sources
    version = schema.version
    let old = files.map {
      SchemaWidening.Document(name: $0.path, uris: $0.uris, schema: $0.document)
    }
    let widening = try SchemaWidening(old, toAccept: bodies)
    self.widening = widening
    comparison = SchemaComparison(
      old: try SchemaWidening.compiled(old), new: try SchemaWidening.compiled(widening.documents))
    var users: [Int: [String]] = [:]
    for (number, file) in files.enumerated() {
      for (other, used) in configuration.schemas.enumerated() where other != index {
        guard let used, used.sources.contains(where: { $0.uris.first == file.uris.first }) else {
          continue
        }
        users[number, default: []].append(configuration.rules[other].name)
      }
    }
    self.users = users
  }

  private func isChanged(_ file: Int) -> Bool {
    widening.documents[file].schema != files[file].document
  }

  private func pointer(_ change: SchemaWidening.Change) -> String {
    change.document == 0 ? change.pointer : "\(files[change.document].path)#\(change.pointer)"
  }

  // MARK: For people

  var text: String {
    var lines = ["\(Self.letters(bodies)) of the rule \(rule); to accept them:"]
    for change in widening.changes {
      lines.append("  \(pointer(change)): \(change.what) (\(Self.letters(change.count)))")
    }
    if widening.changes.isEmpty, widening.remainders.isEmpty {
      lines.append("  nothing: the schema accepts them already")
    }
    for remainder in widening.remainders {
      lines.append("  left to a person: \(remainder.reason) (\(Self.letters(remainder.count)))")
    }
    if !widening.remainders.isEmpty {
      lines.append(
        widening.changes.isEmpty
          ? "Nothing is proposed: \(widening.accepted) of \(bodies) are accepted as it is"
          : "What is proposed accepts \(widening.accepted) of \(bodies)")
    }
    for (number, file) in files.enumerated() where isChanged(number) {
      lines += ["", "--- \(file.path)", "+++ \(file.path) (proposed)"]
      lines += LineDifference.unified(
        file.document.text(pretty: true), widening.documents[number].schema.text(pretty: true))
      if let users = users[number] {
        lines.append(
          "\(file.path) also belongs to the schemas of other rules: \(users.joined(separator: ", "))"
        )
      }
    }
    if let version, !widening.changes.isEmpty {
      lines += [
        "", "The rule names \(version), which can't be changed: publish this as its next version",
        "(tailrace schema publish), and name that.",
      ]
    }
    return lines.joined(separator: "\n") + "\n\n" + comparison.text()
  }

  private static func letters(_ count: Int) -> String {
    count == 1 ? "1 dead letter" : "\(count) dead letters"
  }

  // MARK: For machines

  var json: JSONValue {
    let changed = files.indices.dropFirst().filter(isChanged)
    return [
      "rule": .string(rule), "schema_file": .string(files[0].path), "dead_letters": .int(bodies),
      "accepted": .int(widening.accepted),
      "changes": .array(
        widening.changes.map {
          [
            "file": .string(files[$0.document].path), "pointer": .string($0.pointer),
            "change": .string($0.what), "dead_letters": .int($0.count),
          ]
        }),
      "unresolved": .array(
        widening.remainders.map {
          ["reason": .string($0.reason), "dead_letters": .int($0.count)]
        }),
      "schema": widening.schema,
      "other_files": .array(
        changed.map {
          ["file": .string(files[$0].path), "schema": widening.documents[$0].schema]
        }),
      "comparison": comparison.json(for: .backward),
    ]
  }
}

/// What differs between two texts, by lines.
enum LineDifference {
  private static let context = 3

  /// Hunks as `diff -u` prints them.
  static func unified(_ old: String, _ new: String) -> [String] {
    let (old, new) = (lines(old), lines(new))
    let steps = steps(old, new)
    var shown = Set<Int>()
    for (index, step) in steps.enumerated() where step.mark != " " {
      for near in max(0, index - context)...min(steps.count - 1, index + context) {
        shown.insert(near)
      }
    }
    var result: [String] = []
    var at = 0
    while at < steps.count {
      guard shown.contains(at) else {
        at += 1
        continue
      }
      let end = (at..<steps.count).first { !shown.contains($0) } ?? steps.count
      let hunk = steps[at..<end]
      let removed = hunk.count { $0.mark != "+" }
      let added = hunk.count { $0.mark != "-" }
      result.append("@@ -\(hunk[at].old + 1),\(removed) +\(hunk[at].new + 1),\(added) @@")
      result += hunk.map { "\($0.mark)\($0.text)" }
      at = end
    }
    return result
  }

  private struct Step {
    var mark: Character
    var text: Substring
    /// Lines of each text before it.
    var old: Int
    var new: Int
  }

  private static func lines(_ text: String) -> [Substring] {
    text.split(separator: "\n", omittingEmptySubsequences: false)
  }

  private static func steps(_ old: [Substring], _ new: [Substring]) -> [Step] {
    let difference = new.difference(from: old)
    var removed: Set<Int> = []
    var inserted: Set<Int> = []
    for change in difference {
      switch change {
      case .remove(let offset, _, _): removed.insert(offset)
      case .insert(let offset, _, _): inserted.insert(offset)
      }
    }
    var steps: [Step] = []
    var (one, other) = (0, 0)
    while one < old.count || other < new.count {
      if one < old.count, removed.contains(one) {
        steps.append(Step(mark: "-", text: old[one], old: one, new: other))
        one += 1
      } else if other < new.count, inserted.contains(other) {
        steps.append(Step(mark: "+", text: new[other], old: one, new: other))
        other += 1
      } else {
        guard one < old.count else { break }
        steps.append(Step(mark: " ", text: old[one], old: one, new: other))
        one += 1
        other += 1
      }
    }
    return steps
  }
}
