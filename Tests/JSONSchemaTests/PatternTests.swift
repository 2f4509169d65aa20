import BSON
import JSON
import JSONSchema
import Testing

@Suite struct PatternTests {
  private static func schema(_ pattern: String) -> String {
    JSONValue.object([.init("pattern", .string(pattern))]).text()
  }

  @Test(arguments: [
    ("", "anything", true), ("^$", "", true), ("^$", "a", false), ("a|b", "xbx", true),
    ("^a{2,3}$", "aa", true), ("^a{2,3}$", "aaaa", false), ("^a{2,}$", "aaaaa", true),
    ("^(?:ab)+$", "abab", true), ("^.$", "😀", true), ("^.$", "\n", false), ("^[^]$", "\n", true),
    ("[]", "a", false), ("^[^a]$", "é", true), ("^[\\w-]+$", "a-b_9", true), ("^\\W$", "é", true),
    ("^[\\d.]+$", "1.5", true), ("\\bab\\b", "x ab y", true), ("\\bab\\b", "xab", false),
    ("\\B", "aéb", false), ("\\B", "éé", true), ("^\\B$", "", true), ("^\\u{1F600}$", "😀", true),
    ("^\\uD83D\\uDE00$", "😀", true), ("^[\\uD83D\\uDE00]$", "😀", true),
    ("^\\x41\\u0042$", "AB", true),
    ("^\\cJ$", "\n", true), ("^\\0$", "\0", true), ("^\\/$", "/", true), ("^[a\\-z]$", "-", true),
    ("^[-a]$", "-", true), ("^[a-]$", "-", true), ("^[\\b]$", "\u{8}", true),
    ("^\\p{Lu}\\p{Ll}+$", "Élan", true), ("^\\P{L}$", "1", true),
    ("^\\p{Script=Greek}+$", "αβγ", true),
    ("^\\p{sc=Cyrl}+$", "αβγ", false), ("^\\p{scx=Deva}$", "।", true),
    ("^\\p{Script=Deva}$", "।", false),
    ("^[\\p{L}\\p{Nd}]+$", "a৪", true), ("^\\p{Emoji_Presentation}$", "😀", true),
    ("^\\p{ASCII}+$", "abc", true), ("^\\p{White_Space}$", "\u{2003}", true),
    // What an automaton can't do.
    ("(?=.*\\d)(?=.*[a-z]).{4,}", "abc1", true), ("(?=.*\\d)(?=.*[a-z]).{4,}", "abcd", false),
    ("^(?!foo)", "foobar", false), ("^(?!foo)", "barfoo", true), ("(?<=\\$)\\d+", "cost $42", true),
    ("(?<!\\$)\\b\\d+", "$42", false), ("(?<=a+)b", "aab", true), ("^(a+)-\\1$", "aa-aa", true),
    ("^(a+)-\\1$", "aa-a", false), ("^(?<q>['\"]).*\\k<q>$", "'x'", true),
    ("^(?<q>['\"]).*\\k<q>$", "'x\"", false), ("^(?:(a)|b)*\\1$", "ab", true),
    ("(?<=(\\d+)(\\d+))$", "1053", true),
    ("^(a*)*(?=b)b$", "aab", true), ("^(?=(a+))a*b\\1$", "baaabac", false),
    ("(?=(a+))a*b\\1", "baaabac", true),
    ("(z)((a+)?(b+)?(c))*(?=$)", "zaacbbbcac", true), ("^(?:a{0,3}){2}(?=b)", "aaaab", true),
  ])
  func matching(pattern: String, text: String, expected: Bool) throws {
    let value = JSONValue.string(text).text()
    #expect(try isValid(Self.schema(pattern), value) == expected, "\(pattern) \(value)")
  }

  @Test(arguments: [
    "(", ")", "[", "a**", "*", "+a", "a{2,1}", "{", "}", "]", "a{", "\\", "\\a", "\\_", "\\-",
    "\\8",
    "\\u{110000}", "\\u12", "\\xg0", "\\c1", "\\k<n>", "(?<n>a)(?<n>b)", "(?<1>a)", "(?<n",
    "(?P<n>a)",
    "(?i)a", "(?#x)", "(?=a)*", "(?<=a)+", "^*", "\\b+", "[b-a]", "[\\d-z]", "\\p{Nope}", "\\pL",
    "\\p{Script=Nope}", "\\01", "[\\c]", "(?", "(?<", "x{1,2}{3}", "a???",
  ])
  func `other dialects' and broken patterns are refused`(pattern: String) throws {
    let error = try #require(schemaError(Self.schema(pattern)), "\(pattern)")
    #expect(error.pointer == "/pattern")
    #expect(error.message.contains("can't be used"))
    let value = JSONValue.string(pattern).text()
    #expect(try !isValid(#"{"format": "regex"}"#, value))
  }

  /// Patterns that hang matchers which try.
  @Test(arguments: [
    "^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(a*)*b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y",
    "^(a?){50}a{50}$", "(.*)*c(.*)*d", "(a|b)*a(a|b){12}c", "^([a-z]{1,30}){1,30}$",
  ])
  func `no pattern can take long`(pattern: String) throws {
    let validator = SchemaValidator(try CompiledSchema(text: Self.schema(pattern)))
    for count in [200, 20_000] {
      let text = String(repeating: "a", count: count) + "!"
      let value = try #require(Wrapped(.string(text)))
      _ = try value.use { validator.validate(value: $0) }
      // Long texts use the budget up where there are many states, but that is all they do.
      #expect(validator.fault == nil || count > 200 && validator.fault?.isBound == true)
      if validator.fault == nil { #expect(validator.steps <= SchemaBudget.steps) }
    }
  }

  @Test func `a pattern that looks around is given up after so many steps`() throws {
    let pattern = "^(?=(a+)+$)b"
    let validator = SchemaValidator(try CompiledSchema(text: Self.schema(pattern)))
    let value = try #require(Wrapped(.string(String(repeating: "a", count: 40) + "!")))
    try value.use {
      #expect(!validator.validate(value: $0))
      #expect(validator.fault == .patternTooComplex(pattern: pattern))
      let report = validator.explain(value: $0)
      #expect(report.violations.first?.error.contains("too many steps") == true)
    }
    // Nor does that make its opposite true.
    let opposite = try CompiledSchema(text: #"{"not": {"pattern": "^(?=(a+)+$)b"}}"#)
    let other = SchemaValidator(opposite)
    #expect(try !value.use { other.validate(value: $0) })
  }
}
