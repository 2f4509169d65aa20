import ArgumentParser
import BridgeConfiguration
import JSON
import JSONSchema
import SchemaDiff
import SchemaInference

/// `tailrace schema infer --from-dlq`: the smallest change of a rule's schema that accepts what it has refused.
struct SchemaWideningReport {
  let rule: String
  /// The schema's path, as the configuration has it.
  let path: String
  let old: JSONValue
  let bodies: Int
  let widening: SchemaWidening
  let comparison: SchemaComparison

  /// - Parameter schema: the rule's.
  init(
    _ rule: String, _ schema: RuleSchema, toAccept bodies: [JSONValue]
  ) throws(SchemaError) {
    self.rule = rule
    self.bodies = bodies.count
    path = schema.path
    old = schema.bundled
    widening = try SchemaWidening(old, toAccept: bodies)
    comparison = SchemaComparison(
      old: try CompiledSchema(old), new: try CompiledSchema(widening.schema))
  }

  var text: String {
    var lines = ["\(bodies) dead letters of the rule \(rule); to accept them:"]
    for change in widening.changes {
      lines.append("  \(change.pointer): \(change.what) (\(change.count) letters)")
    }
    if widening.changes.isEmpty { lines.append("  nothing: the schema accepts them already") }
    for reason in widening.unresolved { lines.append("  not decided: \(reason)") }
    if old != widening.schema {
      lines += ["", "--- \(path)", "+++ \(path) (proposed)"]
      lines += LineDifference.unified(old.text(pretty: true), widening.schema.text(pretty: true))
    }
    return lines.joined(separator: "\n") + "\n\n" + comparison.text()
  }

  var json: JSONValue {
    [
      "rule": .string(rule), "schema_file": .string(path), "dead_letters": .int(bodies),
      "changes": .array(
        widening.changes.map {
          [
            "pointer": .string($0.pointer), "change": .string($0.what),
            "dead_letters": .int($0.count),
          ]
        }),
      "unresolved": .array(widening.unresolved.map { .string($0) }), "schema": widening.schema,
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
