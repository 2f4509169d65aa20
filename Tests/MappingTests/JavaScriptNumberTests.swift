import Foundation
import Mapping
import TestRandom
import Testing

@Suite("Doubles in subjects and ids")
struct JavaScriptNumberTests {
  func text(_ value: Double) throws -> String {
    try Written(try rule(id: "{fullDocument.n}")).id(.insert(["n": .double(value)]))
  }

  @Test(
    "as JavaScript prints them",
    arguments: [
      (1.0, "1"), (0.0, "0"), (-0.0, "0"), (-1.0, "-1"), (3_000_000_000.0, "3000000000"),
      (1.5, "1.5"), (-0.1, "-0.1"), (9_007_199_254_740_992.0, "9007199254740992"),
      (1e16, "10000000000000000"), (1.2345678901234568e20, "123456789012345680000"),
      (999_999_999_999_999_900_000.0, "999999999999999900000"), (1e21, "1e+21"),
      (-1.5e300, "-1.5e+300"), (0.000001, "0.000001"), (0.0000015, "0.0000015"), (1e-7, "1e-7"),
      (1.25e-7, "1.25e-7"), (.leastNonzeroMagnitude, "5e-324"),
      (1.7976931348623157e308, "1.7976931348623157e+308"),
      (123456.789, "123456.789"), (0.5, "0.5"), (.nan, "NaN"), (.infinity, "Infinity"),
      (-.infinity, "-Infinity"),
    ])
  func examples(_ value: Double, _ expected: String) throws {
    #expect(try text(value) == expected)
  }

  @Test("what is printed reads back as the same number") func readsBack() throws {
    var chance = SeededRandom(seed: 16)
    for _ in 0..<5000 {
      let value = Double(bitPattern: chance.next())
      guard value.isFinite else { continue }
      #expect(Double(try text(value)) == value)
    }
  }

  @Test("tokens; other numbers keep their text") func others() throws {
    let written = Written(try rule("x.{fullDocument.n}"))
    #expect(try written.subject(.insert(["n": .double(3_000_000_000)])) == "x.3000000000")
    #expect(try written.subject(.insert(["n": .double(1.5)])) == "x.1%2E5")
    #expect(try written.subject(.insert(["n": .double(1e21)])) == "x.1e%2B21")
    #expect(try written.subject(.insert(["n": .int64(.max)])) == "x.9223372036854775807")
    // Bodies keep doubles apart from integers.
    #expect(try written.body(.insert(["n": .double(1)])).contains(#""n":1.0"#))
  }
}
