import BSON
import Bridge
import JSON
import JetStream
import NATS

/// What the parser makes of bytes that come in pieces of that size; an error ends it.
private func operations(_ bytes: UnsafeRawBufferPointer, by step: Int) -> [String] {
  var parser = NATSParser(payloadLimit: 1 << 16)
  var found: [String] = []
  var begin = 0
  var received = 0
  while true {
    do {
      let seen = UnsafeRawBufferPointer(rebasing: bytes[begin..<received])
      if let (operation, length) = try parser.next(seen) {
        promise(length > 0 && length <= seen.count, "\(length) of \(seen.count) bytes are consumed")
        found.append(describe(operation))
        begin += length
        continue
      }
    } catch {
      found.append("error")
      return found
    }
    guard received < bytes.count else { return found }
    received = min(bytes.count, received + step)
  }
}

private func describe(_ operation: NATSOperation) -> String {
  switch operation {
  case .info(let json): "info \(text(json))"
  case .message(let sid, let view):
    "message \(sid) \(text(view.subject)) \(text(view.reply)) \(text(view.headers)) \(text(view.payload))"
  case .ping: "ping"
  case .pong: "pong"
  case .ok: "ok"
  case .error(let words): "error \(text(words))"
  }
}

/// In whatever pieces the bytes come, they are the same operations.
let fuzzNATS: FuzzTarget = { bytes in
  let whole = operations(bytes, by: max(bytes.count, 1))
  for step in [1, 7] {
    let parts = operations(bytes, by: step)
    promise(parts == whole, "by \(step): \(parts), at once: \(whole)")
  }
}

let fuzzHeaders: FuzzTarget = { bytes in
  _ = NATSHeaders.status(of: bytes)
  let own = OwnMessage(Array(bytes))
  _ = own.storedID
  var lines = ByteWriter(capacity: 256)
  _ = MessageMarks(bytes, appendingEventLinesTo: &lines)
  _ = HeaderLines.fields(text(bytes))
  guard let headers = NATSHeaders(parsing: bytes) else { return }
  _ = headers["Nats-Msg-Id"]
}

let fuzzAck: FuzzTarget = { bytes in
  let ack = AckFrame(payload: bytes)
  // An ack that is taken for one has to be one. Servers say nothing twice.
  if case .stored(let sequence, _, _) = ack, let json = try? JSONValue(parsing: bytes),
    json.objectValue?.count(where: { $0.key == "seq" }) == 1,
    let seq = json["seq"]?.integer(UInt64.self)
  {
    promise(seq == sequence, "sequence \(sequence) is read, \(seq) is there")
  }
}

let fuzzStreamInfo: FuzzTarget = { bytes in
  _ = try? NATSServerInfo(parsing: bytes)
  let json = try JSONValue(parsing: bytes)
  let info = StreamInfo(json)
  _ = (info.firstSequence, info.lastSequence, info.messages, info.subjects, info.beginning)
  if let message = StoredMessage(json) { _ = message.own }
}

let fuzzAddress: FuzzTarget = { bytes in _ = try NATSServerAddress(url: text(bytes)) }

let fuzzCredentials: FuzzTarget = { bytes in
  _ = try? NKey(seed: text(bytes))
  _ = try NATSAuthentication.credentialsFile(contents: text(bytes))
}
