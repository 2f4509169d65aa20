import JSON
import JSONSchema
import SchemaInference
import TestRandom
import Testing

/// Changes that are proposed for random schemas and values that these refuse.
@Suite("Widening random schemas") struct WideningAttackTests {
  @Test func `what is proposed accepts all values but those that are left to a person`() throws {
    var schemas = RandomSchemas(seed: AttackTests.seed &+ 3)
    var counts = (changed: 0, partly: 0, left: 0)
    for number in 0..<AttackTests.pairs {
      let schema = schemas.schema()
      guard let compiled = try? CompiledSchema(schema) else { continue }
      var instances = Instances(schemas.random, [schema])
      let values = (0..<6).map { _ in instances.value() }
      schemas.random = instances.random
      let refused = values.count { !compiled.explain($0).isValid }
      guard refused > 0 else { continue }
      let widening = try SchemaWidening(schema, toAccept: values)
      let widened = try CompiledSchema(widening.schema)
      let valid = values.count { widened.explain($0).isValid }
      let place = "\(number): \(schema) => \(widening.schema) for \(values)"
      #expect(valid == widening.accepted || !widening.remainders.isEmpty, "\(place)")
      #expect(valid >= widening.accepted, "\(place)")
      #expect(widening.accepted >= values.count - refused, "\(place)")
      #expect(widening.remainders.isEmpty == (widening.accepted == values.count), "\(place)")
      #expect(!widening.remainders.isEmpty || !widening.changes.isEmpty, "\(place)")
      if widening.remainders.isEmpty {
        counts.changed += 1
      } else if widening.changes.isEmpty {
        counts.left += 1
      } else {
        counts.partly += 1
      }
    }
    print("widening: \(counts)")
    #expect(counts.changed > 3 * (counts.left + counts.partly), "\(counts)")
  }
}
