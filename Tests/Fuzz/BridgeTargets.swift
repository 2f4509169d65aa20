import BSON
import Bridge
import BridgeConfiguration
import JSON
import Mapping
import Oplog

let fuzzYAML: FuzzTarget = { bytes in
  let configuration = try BridgeConfiguration.parse(
    yaml: text(bytes), file: "fuzz.yaml", environment: ["HOME": "x"])
  // What is read can be used.
  _ = configuration.mapper(sourceName: "rs0")
}

let fuzzTemplate: FuzzTarget = { bytes in
  let text = text(bytes)
  _ = try? Template(subject: text)
  _ = try? Template(id: text)
  _ = try? EventPath(parsing: text)
  _ = try? DeadLetterSubject(parsing: text)
  guard let pattern = try? NamespacePattern(parsing: text) else { return }
  _ = pattern.matches(database: bytes, collection: bytes)
}

let fuzzPosition: FuzzTarget = { bytes in
  let text = text(bytes)
  if let position = OplogPosition(text) {
    promise(OplogPosition("\(position)") == position, "\(text) is \(position)")
  }
  if let position = EventPosition(text) {
    promise(EventPosition("\(position)") == position, "\(text) is \(position)")
  }
  if case .success(let found) = ExplainDesk.position(in: text[...]) {
    promise(
      EventPosition(found) != nil || OplogPosition(found) != nil, "\(found) of \(text) is taken")
  }
}

/// A request's line, and its headers; the framing is SwiftNIO's.
let fuzzHTTP: FuzzTarget = { bytes in
  let lines = text(bytes).split(separator: "\n", omittingEmptySubsequences: false)
    .map { $0.last == "\r" ? $0.dropLast() : $0 }
  let words = (lines.first ?? "").split(separator: " ", maxSplits: 2)
  guard words.count >= 2 else { return }
  let authorization = lines.dropFirst().first { $0.lowercased().hasPrefix("authorization: ") }
    .map { String($0.dropFirst("authorization: ".utf8.count)) }
  let target = String(words[1])
  let route = ReadOnlyRoute.decide(
    method: String(words[0]), target: target, authorization: authorization,
    pages: ["/", "/status", "/explain"], token: { .required("letmein") })
  if case .page(let path, let withBody) = route {
    promise(authorization?.hasSuffix("letmein") ?? false, "\(path) is shown without the token")
    promise(withBody == (words[0] == "GET"), "\(words[0]) has the other kind of answer")
  }
  _ = ExplainDesk.position(in: ReadOnlyRoute.query(target))
}

let fuzzCheckpoint: FuzzTarget = { bytes in
  let checkpoint = try Checkpoint(parsing: Array(bytes))
  let again = checkpoint.json.utf8
  promise((try? Checkpoint(parsing: again)) != nil, "it is not read again: \(checkpoint.json)")
}

let fuzzLease: FuzzTarget = { bytes in
  guard let lease = LeaseRecord(parsing: Array(bytes)) else { return }
  promise(LeaseRecord(parsing: lease.json.utf8) != nil, "it is not read again: \(lease.json)")
}

let fuzzCutover: FuzzTarget = { bytes in
  if let record = try? CutoverRecord(parsing: Array(bytes)) {
    promise((try? CutoverRecord(parsing: record.json.utf8)) != nil, "not again: \(record.json)")
  }
  let progress = try CutoverProgress(parsing: Array(bytes))
  promise((try? CutoverProgress(parsing: progress.json.utf8)) != nil, "not again: \(progress.json)")
}

/// A dead letter's body, which holds its event.
let fuzzLetter: FuzzTarget = { bytes in
  let event = try RecordedEvent(text(bytes), index: 7)
  try event.withEvent { event in
    var mapper = Mapper(rules: [], sourceName: "")
    var out = ByteWriter(capacity: 1024)
    mapper.writeDeadLetterBody(event: event, into: &out)
    promise((try? JSONValue(parsing: out.bytes)) != nil, "no JSON: \(text(out.bytes))")
  }
}
