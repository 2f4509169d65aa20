import BSON
import Mapping
import Oplog
import TestRandom
import Testing

@Suite("Limits of messages")
struct LimitTests {
  private static func text(_ count: Int, _ character: Character = "k") -> Value {
    .string(String(repeating: character, count: count))
  }

  @Test("the limit that a letter tells of, if that made the message too large")
  func told() {
    for limit in [700, 2_000, 65_536] {
      for body in [limit - 400, limit - 300, limit, limit * 3] {
        let limits = MessageLimits(maximumPayload: limit)
        do throws(MappingError) {
          try limits.check(headers: 100, body: body)
          #expect(body + 100 + MessageLimits.frame + MessageLimits.allowance <= limit)
        } catch {
          let told = MessageLimits.limit(by: error.detail, headers: 100, body: body)
          #expect(told == limit)
          // Of another message it is not true.
          #expect(MessageLimits.limit(by: error.detail, headers: 100, body: body + 1) == nil)
        }
      }
    }
    #expect(MessageLimits.limit(by: "too large, 5 of 4", headers: 100, body: 900) == nil)
    let detail =
      "the message has 1012 bytes with its headers; the limit is 9000, of which publishing takes 256"
    #expect(MessageLimits.limit(by: detail, headers: 100, body: 900) == nil)
  }

  // MARK: At the bounds

  @Test("header lines: as many as a header block holds beside a protocol's own")
  func headers() throws {
    let written = Written(try rule("x"))
    let shortest = try written.headers(.insert([:], key: ["_id": Self.text(1)])).utf8.count
    let room = MessageLimits.headerLines - shortest + 1
    for count in [room - 1, room] {
      let headers = try written.headers(.insert([:], key: ["_id": Self.text(count)]))
      #expect(headers.utf8.count == shortest + count - 1)
      #expect(headers.utf8.count + MessageLimits.frame + MessageLimits.allowance <= 65_535)
    }
    for key in [Self.text(room + 1), Self.text(16_000_000), Self.text(room / 3 + 1, " ")] {
      let error = mappingError { try written.headers(.insert([:], key: ["_id": key])) }
      #expect(error?.code == .headersTooLarge)
    }
    // In a body there is room for it.
    let plain = Written(try rule("x", envelope: .document))
    #expect(try plain.headers(.insert([:], key: ["_id": Self.text(room + 1)])).utf8.count < 200)
  }

  @Test("a subject of 1024 bytes, a token of 255") func subject() throws {
    let written = Written(
      try rule(
        "{fullDocument.a}.{fullDocument.b}.{fullDocument.c}.{fullDocument.d}.{fullDocument.e}"))
    func document(_ last: Int, _ first: Int = 255) -> Change {
      .insert([
        "a": Self.text(first), "b": Self.text(255), "c": Self.text(255), "d": Self.text(200),
        "e": Self.text(last),
      ])
    }
    for last in [54, 55] {
      #expect(try written.subject(document(last)).utf8.count == 969 + last)
    }
    for bad in [document(56), document(1, 256), document(15_000_000), document(1, 1025)] {
      #expect(mappingError { try written.subject(bad) }?.code == .subjectInvalid)
    }
    let escaped = Change.insert([
      "a": Self.text(86, "é"), "b": "b", "c": "c", "d": "d", "e": "e",
    ])
    #expect(mappingError { try written.subject(escaped) }?.code == .subjectInvalid)
  }

  @Test("an id of 1024 bytes") func id() throws {
    let written = Written(try rule(id: "{fullDocument.key}"))
    for count in [1023, 1024] {
      #expect(try written.id(.insert(["key": Self.text(count)])).utf8.count == count)
    }
    for key in [Self.text(1025), Self.text(342, " "), Self.text(16_000_000)] {
      #expect(mappingError { try written.id(.insert(["key": key])) }?.code == .idInvalid)
    }
  }

  @Test("headers and body together") func message() throws {
    let limits = MessageLimits(maximumPayload: 10_000, maximumMessage: 8_000)
    for body in [7_631, 7_632] { try limits.check(headers: 100, body: body) }
    #expect(throws: MappingError.self) { try limits.check(headers: 100, body: 7_633) }
    #expect(MessageLimits(maximumPayload: 10_000).size == 10_000)
    #expect(MessageLimits(maximumPayload: .max).size == MessageLimits.message)
    // A stream that takes next to nothing.
    let least = MessageLimits(maximumPayload: 10_000, maximumMessage: 1)
    #expect(least.deadLetterHeaders == 0 && least.deadLetterBody(headers: 50) == 0)
    #expect(throws: MappingError.self) { try least.check(headers: 1, body: 0) }
  }

  @Test("text of subjects is bounded where it is written") func literals() throws {
    let longest = String(repeating: "s", count: 1024)
    _ = try Template(subject: longest)
    #expect(throws: RuleSyntaxError.self) { try Template(subject: longest + "s") }
    let letters = String(repeating: "d", count: 1024 - 64 - 20 - 20 - 189)
    let all = letters.dropLast(4) + ".{rule}.{error}.{operationType}.{ns.db}"
    _ = try DeadLetterSubject(parsing: String(all))
    #expect(throws: RuleSyntaxError.self) { try DeadLetterSubject(parsing: "d" + all) }
  }

  @Test("text that grows by its escapes isn't written to its end") func growing() throws {
    let written = try rule("x", envelope: .document)
    for character in ["\u{1}", "\"", "\n"] as [Character] {
      let change = Change.insert(["a": Self.text(16_000_000, character)])
      try change.with { event in
        var mapper = Mapper(rules: [written], sourceName: "rs0")
        var body = ByteWriter()
        do throws(MappingError) {
          try mapper.writeBody(rule: 0, event: event, match: 0, room: 1 << 20, into: &body)
          Issue.record("it fits")
        } catch {
          #expect(error.code == .payloadTooLarge)
          #expect(error.detail.contains("more than the 1048576 bytes"))
        }
        #expect(body.count == 0)
        // Nor twice for its dead letter.
        mapper.writeDeadLetterBody(event: event, limit: 1 << 20, into: &body)
        let letter = String(decoding: body.bytes, as: UTF8.self)
        #expect(letter.contains("\"omitted\":[\"fullDocument\"]"))
        // The writer has no limit afterwards.
        body.removeAll()
        try mapper.writeBody(rule: 0, event: event, match: 0, into: &body)
        #expect(body.count > 31_000_000)
      }
    }
    // Exactly as much as there is room for.
    let change = Change.insert(["a": Self.text(1000, "\u{1}")])
    let whole = try Written(written).body(change)
    try change.with { event in
      var mapper = Mapper(rules: [written], sourceName: "rs0")
      var body = ByteWriter()
      try mapper.writeBody(rule: 0, event: event, match: 0, room: whole.utf8.count, into: &body)
      #expect(body.bytes.elementsEqual(whole.utf8))
    }
  }

  @Test("paths are not looked up for ever in a document of very many fields")
  func manyFields() throws {
    let letters = Array("abcdefghijklmnopqrstuvwxyz")
    var fields: [Value.Field] = []
    for first in letters {
      for second in letters {
        for third in letters {
          for fourth in 0..<10 {
            fields.append(Value.Field(key: "\(first)\(second)\(third)\(fourth)", value: .null))
          }
        }
      }
    }
    fields.append(Value.Field(key: "last", value: .string("x")))
    let document = Value.document(fields)
    func event() -> Change {
      var change = Change.insert([:])
      change.fullDocument = document
      return change
    }
    // 175,761 fields are passed for each: three times is within the budget, four times is not.
    func subject(_ count: Int) throws -> Rule {
      try rule((0..<count).map { _ in "{fullDocument.last}" }.joined(separator: "."))
    }
    #expect(try Written(subject(3)).subject(event()) == "x.x.x")
    let error = mappingError { try Written(subject(4)).subject(event()) }
    #expect(error?.code == .tooComplex && error?.detail.contains("fullDocument.last") ?? false)
    // Of those that come first there may be any number.
    let early = try rule(Array(repeating: "{fullDocument._id}", count: 60).joined(separator: "."))
    var first = event()
    first.fullDocument = .document([Value.Field(key: "_id", value: .string("y"))] + fields)
    #expect(try Written(early).subject(first).utf8.count == 119)
  }

  // MARK: Dead letters

  /// Whatever the event: a message within all limits, or a dead letter within all limits.
  @Test("random events, far too large in one place or several", arguments: 0..<40)
  func anything(seed: Int) throws {
    var chance = SeededRandom(seed: UInt64(seed))
    let limits = MessageLimits(
      maximumPayload: chance.pick([4_096, 20_000, 65_536, 200_000, 1 << 20]),
      maximumMessage: chance.pick([nil, 8_192, 1 << 20]))
    for _ in 0..<12 {
      let rule = try rule(
        chance.pick([
          "x.{documentKey._id}", "x", "x.{ns.db}.{ns.coll}", "{fullDocument.a}.{clusterTime}",
        ]),
        name: chance.pick(["r", String(repeating: "r", count: 64)]),
        id: chance.pick([nil, "{documentKey._id}.created", "{ns.coll}.{wallTime}"]),
        envelope: chance.pick([.cloudEvents, .changeEvent, .cloudEventsStructured]),
        eventType: chance.pick([nil, "t", String(repeating: "t", count: 60_000)]),
        dataSchema: chance.pick([nil, "urn:" + String(repeating: "s", count: 6_000)]))
      let change = Self.change(&chance)
      try Self.check(change, rule, limits, isNoneTaken: chance.below(5) == 0)
    }
  }

  private static func value(_ chance: inout SeededRandom) -> Value {
    let count = chance.pick([0, 1, 20, 340, 1_100, 22_000, 65_300, 130_000])
    return switch chance.below(6) {
    case 0: text(count)
    case 1: text(count, " ")
    case 2: text(count / 2, "é")
    case 3: text(count, "\u{1}")
    case 4: .binary(0, [UInt8](repeating: 7, count: count))
    default: ["a": text(count, "\""), "b": .array([text(count / 3)])]
    }
  }

  private static func change(_ chance: inout SeededRandom) -> Change {
    var change = Change.insert(
      ["a": value(&chance), "b": value(&chance)], key: ["_id": value(&chance)])
    let database = chance.pick(["a", String(repeating: "é", count: 31)])
    let collection = chance.pick(["c", String(repeating: "ü", count: 95), "c.d"])
    change.namespace = "\(database).\(collection)"
    if chance.below(3) == 0 {
      change.operation = .update
      change.updateDescription = ["updatedFields": change.fullDocument ?? [:]]
      change.fullDocument = nil
      if chance.below(2) == 0 {
        change.updateDescription = nil
        change.isOversized = true
      }
    }
    if chance.below(4) == 0 { change.lsid = ["id": value(&chance)] }
    if change.operation == .insert, chance.below(5) == 0 {
      change.isSnapshot = true
      change.collectionUUID = [UInt8](repeating: 9, count: 16)
    }
    return change
  }

  private static func check(
    _ change: Change, _ rule: Rule, _ limits: MessageLimits, isNoneTaken: Bool
  ) throws {
    let template = try DeadLetterSubject(parsing: "dlq.{rule}.{error}.{ns.db}.{operationType}")
    try change.with { event in
      var mapper = Mapper(rules: [rule], sourceName: "rs0")
      var subject = ByteWriter()
      var headers = ByteWriter()
      var body = ByteWriter()
      do throws(MappingError) {
        if isNoneTaken { throw MappingError(.unmatched, "no rule takes this event") }
        try mapper.writeSubject(rule: 0, event: event, into: &subject)
        try mapper.writeHeaders(rule: 0, event: event, match: 0, into: &headers)
        try mapper.writeBody(rule: 0, event: event, match: 0, into: &body)
        let room = limits.body(headers: headers.count)
        // Whether a body is cut short or not, the outcome is the same.
        var bounded = ByteWriter()
        bounded.append("before")
        do throws(MappingError) {
          try mapper.writeBody(rule: 0, event: event, match: 0, room: room, into: &bounded)
          #expect(bounded.bytes.dropFirst(6).elementsEqual(body.bytes))
          let isCut = bounded.isCut
          #expect(!isCut)
        } catch {
          #expect(error.code == .payloadTooLarge && body.count > room)
          #expect(bounded.bytes.elementsEqual("before".utf8))
        }
        try limits.check(headers: headers.count, body: body.count)
      } catch {
        let rule = isNoneTaken ? nil : 0
        subject.removeAll()
        headers.removeAll()
        body.removeAll()
        mapper.writeDeadLetterSubject(
          template, rule: rule, event: event, error: error, into: &subject)
        mapper.writeDeadLetterHeaders(
          rule: rule, event: event, match: 0, error: error, limit: limits.deadLetterHeaders,
          into: &headers)
        mapper.writeDeadLetterBody(
          event: event, limit: limits.deadLetterBody(headers: headers.count), into: &body)
        let lines = String(decoding: headers.bytes, as: UTF8.self)
        #expect(lines.contains("\r\nTailrace-Error: \(error.code.rawValue)\r\n"))
        // What a snapshot's next life looks for is what is stored.
        var id = ByteWriter()
        mapper.writeIdentity(rule: rule, event: event, match: 0, into: &id)
        #expect(lines.hasPrefix("Nats-Msg-Id: \(String(decoding: id.bytes, as: UTF8.self))\r\n"))
        if event.isOversized {
          #expect(String(decoding: body.bytes, as: UTF8.self).contains("\"updateDescription\""))
        }
      }
      #expect(subject.count <= MessageLimits.subject)
      #expect(headers.count <= MessageLimits.headerLines)
      #expect(
        headers.count + MessageLimits.frame + body.count <= limits.size - MessageLimits.allowance)
      let lines = String(decoding: headers.bytes, as: UTF8.self).split(separator: "\r\n")
      for line in lines {
        #expect(line.utf8.allSatisfy { (0x20..<0x7F).contains($0) } && line.contains(": "))
      }
    }
  }

  @Test("what identifies the event and the reason are left where no more fits") func least() throws
  {
    let written = Written(try rule("x"))
    let change = Change.insert([:], key: ["_id": Self.text(70_000)])
    let error = try #require(mappingError { try written.headers(change) })
    let letter = try written.deadLetter(change, error: error)
    #expect(
      letter.headers == """
        Nats-Msg-Id: rs0:1732360000.42.0\r
        Tailrace-Position: 1732360000.42.0\r
        Tailrace-Rule: r\r
        Tailrace-Error: headers_too_large\r
        Tailrace-Error-Detail: documentKey._id has 70005 bytes; a message's headers may have 65267 \
        together\r
        Tailrace-Subject: x\r

        """)
  }

  @Test("an id of the rule's own stays, where it can be derived") func ownID() throws {
    let written = Written(try rule("x", id: "{fullDocument.key}"))
    let change = Change.insert(["key": "k1"], key: ["_id": Self.text(70_000)])
    let letter = try written.deadLetter(
      change, error: try #require(mappingError { try written.headers(change) }))
    #expect(letter.headers.hasPrefix("Nats-Msg-Id: k1\r\nTailrace-Position: "))
  }

  // MARK: Updates too large to be described

  @Test("invalid for the rules that take it, named in the letter") func oversized() throws {
    var change = Change(operation: .update)
    change.isOversized = true
    let written = Written(try rule("x.{documentKey._id}"))
    let error = mappingError { try written.subject(change) }
    #expect(error?.code == .payloadTooLarge)
    let letter = try written.deadLetter(change, error: try #require(error))
    #expect(letter.headers.contains("Tailrace-Subject: x.m1\r\n"))
    #expect(letter.body.hasSuffix(#","documentKey":{"_id":"m1"},"omitted":["updateDescription"]}"#))
  }

  @Test("no trouble for a rule that leaves the description out") func leftOut() throws {
    var change = Change(operation: .update)
    change.isOversized = true
    let written = Written(try rule("x", exclude: ["updateDescription"]))
    #expect(try written.subject(change) == "x")
    #expect(try written.body(change) == #"{"operationType":"update","documentKey":{"_id":"m1"}}"#)
    let using = Written(
      try rule("x.{updateDescription.updatedFields.a}", exclude: ["updateDescription"]))
    #expect(mappingError { try using.subject(change) }?.code == .pathMissing)
  }

  @Test("a condition on what can't be seen takes the event, rather than lose it") func condition()
    throws
  {
    var change = Change(operation: .update)
    change.isOversized = true
    func conditioned(_ path: String, isNot: Bool = false) throws -> Rule {
      var rule = try rule("x")
      let test = Condition.test(try EventPath(parsing: path), .exists)
      rule.condition = isNot ? .not(test) : test
      return rule
    }
    let written = Written(
      try conditioned("documentKey.nothing"), try conditioned("updateDescription.updatedFields.a"))
    #expect(try written.matches(change) == [[1]])
    let negated = Written(try conditioned("updateDescription.updatedFields.a", isNot: true))
    #expect(try negated.matches(change) == [[0]])
    let others = Written(try rule("x", namespace: "other.*"))
    #expect(try others.matches(change) == [[]])
  }
}
