import Foundation
import JSONSchema
import Patterns
import SchemaDiff
import TestRandom
import Testing

/// What is known of formats, against what the validator says of strings.
@Suite("Formats between patterns") struct FormatTests {
  /// How many strings of each format.
  private static let texts =
    ProcessInfo.processInfo.environment["FORMAT_TEXTS"].flatMap { Int($0) } ?? 20_000

  private func accepts(_ format: StringFormat, _ text: String) -> Bool {
    var text = text
    return text.withUTF8 { format.accepts(UnsafeRawBufferPointer($0)) }
  }

  private func isFound(_ pattern: Pattern, _ text: String) -> Bool {
    var (text, scratch) = (text, PatternScratch())
    return text.withUTF8 { pattern.search(UnsafeRawBufferPointer($0), &scratch) } == .found
  }

  @Test(arguments: StringFormat.allCases)
  func `samples have the format`(_ format: StringFormat) {
    for sample in format.samples { #expect(accepts(format, sample), "\(sample)") }
    let lengths = [1, 2, 3, 10, 25, 63, 64, 65, 66, 127, 128, 129, 130, 192, 193, 194, 252, 253]
    for length in lengths {
      guard let sample = format.sample(ofLength: length) else { continue }
      #expect(sample.unicodeScalars.count == length)
      #expect(accepts(format, sample), "\(sample)")
    }
    #expect(format.sample(ofLength: 253) != nil || [.date, .ipv4, .ipv6, .uuid].contains(format))
  }

  @Test(arguments: StringFormat.allCases)
  func `patterns are tables`(_ format: StringFormat) {
    #expect(format.outline.narrow?.table != nil)
    for pattern in format.outline.wide { #expect(pattern.table != nil, "\(pattern.text)") }
  }

  /// Samples, changed in a character or two, or put together: right and wrong ones.
  @Test(arguments: StringFormat.allCases)
  func `no string is outside of them`(_ format: StringFormat) {
    var random = SeededRandom(seed: UInt64(format.rawValue) + 7)
    let starts = StringFormat.allCases.flatMap(\.samples).map { Array($0.unicodeScalars) }
    let own = format.samples.map { Array($0.unicodeScalars) }
    let characters = Array("0123456789aZzTPWx-:.+/@[]\"#?%{}~_ \u{E9}\u{5D0}".unicodeScalars)
    var counts = (right: 0, wrong: 0)
    for number in 0..<Self.texts {
      var text = random.pick(number % 4 == 0 ? starts : own)
      for _ in 0..<random.below(4) {
        let at = random.below(text.count + 1)
        switch random.below(4) {
        case 0: text.insert(random.pick(characters), at: at)
        case 1 where at < text.count: text.remove(at: at)
        case 2 where at < text.count: text[at] = random.pick(characters)
        case 3:
          let other = random.pick(own)
          text.insert(contentsOf: other.prefix(random.below(other.count + 1)), at: at)
        default: break
        }
      }
      let string = String(String.UnicodeScalarView(text))
      let isRight = accepts(format, string)
      let outline = format.outline
      if isRight {
        counts.right += 1
        #expect(outline.wide.allSatisfy { isFound($0, string) }, "\(string)")
        #expect(text.count <= outline.longest, "\(string)")
      } else {
        counts.wrong += 1
      }
      if let narrow = outline.narrow, isFound(narrow, string) { #expect(isRight, "\(string)") }
    }
    #expect(counts.right > 1_000, "\(counts)")
    #expect(counts.wrong > 1_000 || format == .regex, "\(counts)")
  }

  /// Dates one after the other, and all of them that are near.
  @Test func `dates and times are exact`() {
    for year in ["0000", "0004", "0100", "0400", "1900", "1999", "2000", "2023", "2024", "2100"] {
      for month in 0...13 {
        for day in 0...32 {
          func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
          let date = "\(year)-\(two(month))-\(two(day))"
          #expect(
            accepts(.date, date) == isFound(StringFormat.date.outline.wide[0], date), "\(date)")
        }
      }
    }
    #expect(StringFormat.date.outline.isExact && StringFormat.ipv6.outline.isExact)
  }
}
