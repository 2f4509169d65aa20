import Foundation
import JSON
import JSONSchema
import SchemaDiff
import TestRandom
import Testing

/// Verdicts attacked with values: `DIFF_PAIRS` pairs of random schemas and one that was changed, with 50 values for
/// each direction of each.
@Suite("Attacks on verdicts") struct AttackTests {
  static let pairs = ProcessInfo.processInfo.environment["DIFF_PAIRS"].flatMap { Int($0) } ?? 1_000
  static let seed = ProcessInfo.processInfo.environment["DIFF_SEED"].flatMap { UInt64($0) } ?? 1

  @Test func `no value refutes a verdict`() throws {
    var schemas = RandomSchemas(seed: Self.seed)
    var counts: [String: Int] = [:]
    var values = 0
    for number in 0..<Self.pairs {
      let old = schemas.schema()
      var new = schemas.changed(old)
      if schemas.random.chance(1, in: 3) { new = schemas.changed(new) }
      guard let compiledOld = try? CompiledSchema(old), let compiledNew = try? CompiledSchema(new)
      else { continue }
      let comparison = SchemaComparison(old: compiledOld, new: compiledNew)
      for (direction, writer, reader, text) in [
        (comparison.backward, compiledOld, compiledNew, old),
        (comparison.forward, compiledNew, compiledOld, new),
      ] {
        counts[direction.word, default: 0] += 1
        for difference in direction.differences + direction.caveats {
          #expect(writer.explain(difference.witness).isValid, "\(number): \(old) => \(new)")
          #expect(!reader.explain(difference.witness).isValid, "\(number): \(old) => \(new)")
        }
        guard direction.strictVerdict == .compatible else { continue }
        for _ in 0..<50 {
          let value = schemas.value([text, text, old, new])
          values += 1
          if writer.explain(value).isValid, !reader.explain(value).isValid {
            Issue.record("\(number): \(value) refutes \(old) => \(new)")
            break
          }
        }
      }
    }
    print("attacks: \(Self.pairs) pairs, \(values) values, verdicts \(counts)")
    // Nearly everything is decided.
    let undecided = counts["?"] ?? 0
    #expect(undecided * 20 < counts.values.reduce(0, +), "\(counts)")
  }

  /// Of a new optional property, wherever it is declared: values without it refute no verdict.
  @Test func `an added optional property is compatible for those who don't write it`() throws {
    var schemas = RandomSchemas(seed: Self.seed &+ 2)
    var counts: [String: Int] = [:]
    for number in 0..<(Self.pairs / 2) {
      let old = schemas.schema()
      let new = schemas.withProperty("fresh", in: old)
      guard new != old, let compiledOld = try? CompiledSchema(old),
        let compiledNew = try? CompiledSchema(new)
      else { continue }
      let backward = SchemaComparison(old: compiledOld, new: compiledNew).backward
      counts[backward.word, default: 0] += 1
      for difference in backward.differences + backward.caveats {
        #expect(compiledOld.explain(difference.witness).isValid, "\(number): \(old) => \(new)")
        #expect(!compiledNew.explain(difference.witness).isValid, "\(number): \(old) => \(new)")
      }
      guard backward.verdict == .compatible else { continue }
      for _ in 0..<50 {
        let value = schemas.value([old])
        if compiledOld.explain(value).isValid, !compiledNew.explain(value).isValid {
          Issue.record("\(number): \(value) refutes \(old) => \(new)")
          break
        }
      }
    }
    print("added properties: verdicts \(counts)")
    #expect(counts["yes*", default: 0] > counts["no", default: 0], "\(counts)")
  }

  /// Each kind of decision the other way: a value that one version accepts and the other refuses is found by the
  /// comparison, too.
  @Test func `what values show is seen`() throws {
    var schemas = RandomSchemas(seed: Self.seed &+ 1)
    var shown = 0
    for _ in 0..<(Self.pairs / 2) {
      let old = schemas.schema()
      let new = schemas.changed(old)
      guard let compiledOld = try? CompiledSchema(old), let compiledNew = try? CompiledSchema(new)
      else { continue }
      let value = (0..<30).lazy.map { _ in schemas.value([old, new]) }.first {
        compiledOld.explain($0).isValid && !compiledNew.explain($0).isValid
      }
      guard let value else { continue }
      shown += 1
      let backward = SchemaComparison(old: compiledOld, new: compiledNew).backward
      #expect(backward.strictVerdict != .compatible, "\(value) refutes \(old) => \(new)")
    }
    #expect(shown > Self.pairs / 20)
  }
}
