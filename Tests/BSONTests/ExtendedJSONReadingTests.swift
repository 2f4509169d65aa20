import BSON
import TestRandom
import Testing

/// Reading Extended JSON as BSON.
@Suite struct ExtendedJSONReadingTests {
  /// The writer's canonical form is read as the same bytes.
  @Test func `random documents come back`() throws {
    var documents = RandomDocuments(seed: 0x5EED, values: .asLibBSON)
    var same = 0
    for round in 0..<8_000 {
      let bytes = documents.next()
      let text = try json(bytes, .canonical)
      let read: [UInt8]
      do {
        read = try ExtendedJSON.bson(text)
      } catch {
        Issue.record("document \(round): \(error): \(text)")
        return
      }
      // NaN has many bit patterns but one text, and so have non-canonical decimals.
      if read == bytes { same += 1 } else { #expect(try json(read, .canonical) == text) }
    }
    #expect(same > 5_000)
  }

  @Test(
    arguments: [
      (#"{"a":1}"#, #"{"a":{"$numberInt":"1"}}"#),
      (#"{"a":2147483648}"#, #"{"a":{"$numberLong":"2147483648"}}"#),
      (#"{"a":-9223372036854775808}"#, #"{"a":{"$numberLong":"-9223372036854775808"}}"#),
      (#"{"a":9223372036854775808}"#, #"{"a":{"$numberDouble":"9.223372036854776e+18"}}"#),
      (#"{"a":1.0}"#, #"{"a":{"$numberDouble":"1.0"}}"#),
      (
        #"{"a":{"$date":"1970-01-01T01:00:00.5+01:00"}}"#, #"{"a":{"$date":{"$numberLong":"500"}}}"#
      ),
      (#"{"a":{"$date":"1969-12-31T23:59:59.999Z"}}"#, #"{"a":{"$date":{"$numberLong":"-1"}}}"#),
      (
        #"{"a":{"$uuid":"00112233-4455-6677-8899-aabbccddeeff"}}"#,
        #"{"a":{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}}"#
      ),
      (
        #"{"a":{"$binary":"AQI=","$type":"80"}}"#,
        #"{"a":{"$binary":{"base64":"AQI=","subType":"80"}}}"#
      ),
      (
        #"{"a":{"$options":"i","$regex":"^x"}}"#,
        #"{"a":{"$regularExpression":{"pattern":"^x","options":"i"}}}"#
      ),
      (
        #"{"a":[{"$code":"f()","$scope":{"x":{"$code":"g()","$scope":{}}}}]}"#,
        #"{"a":[{"$code":"f()","$scope":{"x":{"$code":"g()","$scope":{}}}}]}"#
      ),
      (#"{"a":1,"a":2}"#, #"{"a":{"$numberInt":"1"},"a":{"$numberInt":"2"}}"#),
      // Not wrappers: additional or different keys.
      (#"{"a":{"$oid":"x","b":1}}"#, #"{"a":{"$oid":"x","b":{"$numberInt":"1"}}}"#),
      (#"{"a":{"$set":{"b":1}}}"#, #"{"a":{"$set":{"b":{"$numberInt":"1"}}}}"#),
      (#"{"$oid":"x"}"#, #"{"$oid":"x"}"#),
    ])
  func forms(text: String, canonical: String) throws {
    #expect(try json(ExtendedJSON.bson(text), .canonical) == canonical)
  }

  @Test(
    arguments: [
      "0", "-0", "1.50", "1E+3", "0E-7", "1E-6176", "0E+6111", "NaN", "Infinity", "-Infinity",
      "9.999999999999999999999999999999999E+6144", "9999999999999999999999999999999999",
      "12345678.543210", "1000000000000000000",
    ])
  func decimals(text: String) throws {
    let whole = #"{"a":{"$numberDecimal":"\#(text)"}}"#
    #expect(try json(ExtendedJSON.bson(whole), .canonical) == whole)
  }

  @Test func `decimals are clamped, never rounded`() throws {
    func read(_ text: String) -> String? {
      (try? ExtendedJSON.bson(#"{"a":{"$numberDecimal":"\#(text)"}}"#)).flatMap {
        try? json($0, .canonical)
      }
    }
    #expect(read("1E+6112") == #"{"a":{"$numberDecimal":"1.0E+6112"}}"#)
    #expect(read("0E-99999") == #"{"a":{"$numberDecimal":"0E-6176"}}"#)
    #expect(read("10E-6177") == #"{"a":{"$numberDecimal":"1E-6176"}}"#)
    for beyond in [
      "12345678901234567890123456789012345", "1E+6145", "1E-6177", "", ".", "1e", "x", "1 ", "--1",
    ] {
      #expect(read(beyond) == nil, "\(beyond)")
    }
  }

  @Test(
    arguments: [
      (#"{"a":{"b":[1,{"$oid":"xyz"}]}}"#, "at /a/b/1: $oid"),
      (#"{"a/b~":{"$numberLong":5}}"#, "at /a~1b~0: $numberLong"),
      (#"{"a":{"$numberInt":"2147483648"}}"#, "at /a: $numberInt"),
      (#"{"a":{"$numberDouble":"abc"}}"#, "at /a: abc is not a number"),
      (#"{"a":{"$date":"2023-02-29T00:00:00Z"}}"#, "at /a: $date"),
      (#"{"a":{"$date":"2023-02-28T24:00:00Z"}}"#, "at /a: $date"),
      (#"{"a":{"$timestamp":{"t":-1,"i":0}}}"#, "at /a: $timestamp"),
      (#"{"a":{"$binary":{"base64":"%","subType":"00"}}}"#, "at /a: $binary"),
      (#"{"a":{"$regularExpression":{"pattern":"x\u0000","options":""}}}"#, "at /a: a regular"),
      (#"{"a\u0000":1}"#, "a key can't contain a NUL byte"),
      ("[1]", "not an object"), ("", "invalid JSON"), (#"{"a":1} x"#, "invalid JSON"),
    ])
  func mistakes(text: String, says: String) {
    do {
      _ = try ExtendedJSON.bson(text)
      Issue.record("\(text) was read")
    } catch {
      #expect(error.description.contains(says), "\(error)")
    }
  }

  @Test func `damaged texts are an error or another document, never a crash`() throws {
    var documents = RandomDocuments(seed: 0xDA3A, values: .asLibBSON)
    var random = SeededRandom(seed: 7)
    for _ in 0..<2_000 {
      var text = Array(try json(documents.next(), .canonical).utf8)
      for _ in 0..<3 {
        let at = random.below(text.count)
        text[at] = random.pick(Array(#"{}[]":,$0e-. "#.utf8))
      }
      if let read = try? ExtendedJSON.bson(String(decoding: text, as: UTF8.self)) {
        #expect(LibBSON.accepts(read))
      }
    }
  }
}
