import BSON
import Bridge
import JSON
import Mapping
import MongoSource
import Oplog

private let styles: [JSONStyle] = [.simplified, .relaxed, .canonical]

/// A document, read in full and written as JSON in all styles, which has to be JSON.
let fuzzBSON: FuzzTarget = { bytes in
  let view = try BSONView(bytes)
  let isValid = (try? view.validate(utf8: true)) != nil
  for style in styles {
    var out = ByteWriter(capacity: 256)
    do {
      try out.appendJSON(view, style: style)
    } catch {
      promise(!isValid || "\(error)".contains("deep"), "a valid document is not written: \(error)")
      continue
    }
    promise((try? JSONValue(parsing: out.bytes)) != nil, "\(style) is no JSON: \(text(out.bytes))")
    // What programs print is read as the same document.
    guard style == .canonical, isValid else { continue }
    _ = try? ExtendedJSON.bson(text(out.bytes), as: .printed)
  }
}

/// The documents that follow one another in the input.
private func documents(_ bytes: UnsafeRawBufferPointer, _ body: (BSONView) throws -> Void) throws {
  var rest = bytes
  for _ in 0..<16 where !rest.isEmpty {
    let view = try BSONView(rest)
    try body(view)
    rest = UnsafeRawBufferPointer(rebasing: rest[view.bytes.count...])
  }
}

/// What a dead letter has of an event can be read again.
private func examine(_ event: ChangeEvent, _ mapper: inout Mapper) {
  var out = ByteWriter(capacity: 1024)
  mapper.writeDeadLetterBody(event: event, into: &out)
  let body = text(out.bytes)
  promise((try? JSONValue(parsing: out.bytes)) != nil, "a letter is no JSON: \(body)")
}

/// Oplog entries, in sequence.
let fuzzOplog: FuzzTarget = { bytes in
  var decoder = OplogDecoder(transactionMemory: 1 << 20)
  var mapper = Mapper(rules: [], sourceName: "")
  try documents(bytes) { entry in
    _ = try? ChainLink(entry)
    _ = try decoder.begin(entry)
    while let event = try decoder.next() { examine(event, &mapper) }
  }
}

/// Documents of a change stream, in sequence.
let fuzzChangeStream: FuzzTarget = { bytes in
  var decoder = ChangeStreamDecoder()
  var mapper = Mapper(rules: [], sourceName: "")
  try documents(bytes) { document in
    _ = try decoder.begin(document, generation: 1)
    while let event = try decoder.next() { examine(event, &mapper) }
  }
}

/// A change stream's token, as a document and as the text within.
let fuzzResumeToken: FuzzTarget = { bytes in
  _ = ChangeStreamToken(bytes)
  guard let token = ResumeToken(bytes: Array(bytes)) else { return }
  promise(token.bytes.elementsEqual(bytes), "a token keeps its bytes")
}

/// Replies to find, getMore and hello.
let fuzzMongoReply: FuzzTarget = { bytes in
  if let view = try? BSONView(bytes) { _ = try? Hello(view) }
  let reply = try CursorReply(bytes)
  let survey = try reply.survey()
  var count = 0
  var walk = reply.documents.elements()
  while try walk.next() != nil { count += 1 }
  promise(count == survey.count, "\(survey.count) documents are announced, \(count) are there")
}
