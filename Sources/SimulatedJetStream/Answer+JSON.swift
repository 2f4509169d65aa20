import Bytes
public import JSON

extension Answer {
  /// The answer's payload, as the server writes it; times are left out of it. Nil: an answer without one.
  public func json(_ rules: ServerRules) -> JSONValue? {
    switch self {
    case .stored(let stream, let sequence, let batch):
      return Self.acknowledged(stream, sequence, batch, isDuplicate: false)
    case .duplicate(let stream, let sequence, let batch):
      return Self.acknowledged(stream, sequence, batch, isDuplicate: true)
    case .refused(let stream, let refusal):
      return ["error": refusal.json, "stream": .string(stream), "seq": 0]
    case .flow(let sequence, let every):
      return ["type": "ack", "seq": .int(sequence), "msgs": .int(every)]
    case .gap(let expected, let current):
      return ["type": "gap", "last_seq": .int(expected), "seq": .int(current)]
    case .batchRefused(let sequence, let refusal):
      return ["type": "err", "seq": .int(sequence), "error": refusal.json]
    case .failed(let operation, let refusal):
      var json: JSONValue = ["type": operation.json, "error": refusal.json]
      // A refused purge tells how many messages were purged.
      if operation == .purge { json["purged"] = 0 }
      return json
    case .stream(let operation, let state):
      var json = state.json(rules)
      json["type"] = operation.json
      if operation == .create { json["did_create"] = true }
      return json
    case .streamExists(let state):
      var json = state.json(rules)
      json["type"] = APIOperation.create.json
      return json
    case .streamDeleted: return ["type": APIOperation.delete.json, "success": true]
    case .purged(let count):
      return ["type": APIOperation.purge.json, "success": true, "purged": .int(count)]
    case .messageDeleted: return ["type": APIOperation.deleteMessage.json, "success": true]
    case .message(let message):
      return ["type": APIOperation.getMessage.json, "message": message.json]
    case .names(let names):
      return [
        "type": APIOperation.names.json, "total": .int(names.count), "offset": 0, "limit": 1024,
        "streams": names.isEmpty ? .null : .array(names.map { .string($0) }),
      ]
    case .consumer(let operation, let state):
      var json = state.json
      json["type"] = operation.json
      return json
    case .consumerDeleted: return ["type": APIOperation.consumerDelete.json, "success": true]
    case .consumerNames(let names):
      return [
        "type": APIOperation.consumerNames.json, "total": .int(names.count), "offset": 0,
        "limit": 1024, "consumers": .array(names.map { .string($0) }),
      ]
    case .account(let state):
      var json = state.json
      json["type"] = APIOperation.account.json
      return json
    case .receipt, .noResponders, .direct, .directFailed, .delivered, .pullEnded: return nil
    }
  }

  private static func acknowledged(
    _ stream: String, _ sequence: UInt64, _ batch: BatchCount?, isDuplicate: Bool
  ) -> JSONValue {
    var json: JSONValue = ["stream": .string(stream), "seq": .int(sequence)]
    if isDuplicate { json["duplicate"] = true }
    if let batch {
      json["batch"] = .string(batch.id)
      json["count"] = .int(batch.count)
    }
    return json
  }

  /// The answer as a message: its headers (empty: none) and its payload.
  public func message(_ rules: ServerRules) -> (headers: [UInt8], payload: [UInt8]) {
    switch self {
    case .noResponders: return (Array("NATS/1.0 503\r\n\r\n".utf8), [])
    case .directFailed(let status, let text):
      return (Array("NATS/1.0 \(status) \(text)\r\n\r\n".utf8), [])
    case .direct(let stream, let message):
      return (message.directHeaders(stream), message.payload)
    case .delivered(let delivery): return (delivery.headers, delivery.payload)
    case .pullEnded(let end): return (end.headers, [])
    default: return ([], json(rules)?.utf8 ?? [])
    }
  }
}

extension APIOperation {
  var json: JSONValue { .string("io.nats.jetstream.api.v1.\(rawValue)_response") }
}

extension Refusal {
  public var json: JSONValue {
    ["code": .int(status), "err_code": .int(code), "description": .string(text)]
  }
}

private func base64(_ bytes: [UInt8]) -> JSONValue {
  var text = ByteWriter(capacity: bytes.count * 4 / 3 + 4)
  bytes.withUnsafeBytes { text.appendBase64($0) }
  return .string(String(decoding: text.bytes, as: UTF8.self))
}

extension StoredMessage {
  var json: JSONValue {
    var json: JSONValue = ["subject": .string(subject), "seq": .int(sequence)]
    if !headers.isEmpty { json["hdrs"] = base64(headers) }
    if !payload.isEmpty { json["data"] = base64(payload) }
    json["time"] = .string(Timestamp.text(time))
    return json
  }

  /// The stored headers and those that give the message's sequence.
  func directHeaders(_ stream: String) -> [UInt8] {
    var block = headers.isEmpty ? Array("NATS/1.0\r\n".utf8) : Array(headers.dropLast(2))
    let added =
      "Nats-Stream: \(stream)\r\nNats-Subject: \(subject)\r\nNats-Sequence: \(sequence)\r\n"
      + "Nats-Time-Stamp: \(Timestamp.text(time))\r\n\r\n"
    block.append(contentsOf: added.utf8)
    return block
  }
}

extension StreamState {
  public func json(_ rules: ServerRules) -> JSONValue {
    var state: JSONValue = [
      "messages": .int(messages), "bytes": .int(bytes), "first_seq": .int(firstSequence),
      "first_ts": .string(firstTime.map(Timestamp.text) ?? Timestamp.none),
      "last_seq": .int(lastSequence),
      "last_ts": .string(lastTime.map(Timestamp.text) ?? Timestamp.none),
      "consumer_count": .int(consumers),
    ]
    if subjectCount > 0 { state["num_subjects"] = .int(subjectCount) }
    if deletedCount > 0 { state["num_deleted"] = .int(deletedCount) }
    if !subjects.isEmpty {
      state["subjects"] = .object(
        subjects.sorted { $0.key < $1.key }.map { .init($0.key, .int($0.value)) })
    }
    return [
      "config": configuration.json(rules), "created": .string(Timestamp.text(created)),
      "state": state, "cluster": ["leader": .string(leader)],
      "ts": .string(Timestamp.text(asked)),
    ]
  }
}
