import JSON

/// JetStream's requests, as they come over the wire. What is not known is not answered, as by the server.
extension SimulatedServer {
  /// False: nobody subscribes to that subject.
  func request(_ message: Publication) -> Bool {
    let tokens = message.subject.split(separator: ".", omittingEmptySubsequences: false)
    guard tokens.count >= 4 else {
      if tokens.count == 3, tokens[2] == "INFO" { reply(message.reply, .account(accountState)) }
      return true
    }
    func name(_ index: Int) -> String { index < tokens.count ? String(tokens[index]) : "" }
    switch (tokens[2], tokens[3]) {
    case ("STREAM", "CREATE"): change(message, name(4), .create)
    case ("STREAM", "UPDATE"): change(message, name(4), .update)
    case ("STREAM", "INFO"):
      answer(message, .info) { () throws(Refusal) in try info(message, name(4)) }
    case ("STREAM", "DELETE"):
      answer(message, .delete) { () throws(Refusal) in
        guard message.payload.isBlank else { throw .notEmpty }
        try deleteStream(name(4))
        return .streamDeleted
      }
    case ("STREAM", "PURGE"):
      answer(message, .purge) { () throws(Refusal) in try purge(message, name(4)) }
    case ("STREAM", "NAMES"): answer(message, .names) { () throws(Refusal) in try names(message) }
    case ("STREAM", "MSG") where name(4) == "GET":
      answer(message, .getMessage) { () throws(Refusal) in .message(try stored(message, name(5))) }
    case ("STREAM", "MSG") where name(4) == "DELETE":
      answer(message, .deleteMessage) { () throws(Refusal) in try deleteMessage(message, name(5)) }
    case ("DIRECT", "GET"):
      guard streams[name(4)]?.configuration.allowDirect ?? false else { return false }
      directGet(
        message, stream: name(4), subject: tokens.dropFirst(5).joined(separator: "."),
        replica: directReplica(name(4)))
    case ("CONSUMER", _): return consumerRequest(message, tokens)
    default: break
    }
    return true
  }

  /// Nil: the answer comes later.
  func answer(
    _ message: Publication, _ operation: APIOperation, _ body: () throws(Refusal) -> Answer?
  ) {
    do throws(Refusal) {
      if let answer = try body() { reply(message.reply, answer) }
    } catch {
      reply(message.reply, .failed(operation, error))
    }
  }

  func parsed(_ payload: [UInt8]) throws(Refusal) -> JSONValue {
    do {
      return try JSONValue(parsing: payload)
    } catch {
      throw .invalidJSON("invalid JSON: \(error)")
    }
  }

  private func change(_ message: Publication, _ name: String, _ operation: APIOperation) {
    answer(message, operation) { () throws(Refusal) in
      let json = try parsed(message.payload)
      if rules.refusesUnknownSettings, !rules.knowsFastBatches, json["allow_batched"] != nil {
        throw .invalidJSON("invalid JSON: json: unknown field \"allow_batched\"")
      }
      let wanted = try StreamConfiguration(json)
      if operation == .create {
        if wanted.name != name { throw .streamNameMismatch }
        let exists = isClustered && streams[name] != nil
        let state = try createStream(wanted)
        return exists ? .streamExists(state) : .stream(.create, state)
      }
      let checked = try wanted.checked(rules)
      if checked.name != name { throw .streamNameMismatch }
      return .stream(.update, try updateStream(wanted))
    }
  }

  private func info(_ message: Publication, _ name: String) throws(Refusal) -> Answer {
    let stream = try stream(named: name)
    var state = stream.state
    if !message.payload.isBlank,
      let filter = try parsed(message.payload)["subjects_filter"]?.stringValue
    {
      state.subjects = stream.store.counts(on: filter)
    }
    return .stream(.info, state)
  }

  private func names(_ message: Publication) throws(Refusal) -> Answer {
    let filter = message.payload.isBlank ? nil : try parsed(message.payload)["subject"]?.stringValue
    let found = streams.values.filter { stream in
      guard let filter else { return true }
      return stream.configuration.subjects.contains { SubjectPattern.collide($0, filter) }
    }
    return .names(found.map(\.configuration.name).sorted())
  }

  private func purge(_ message: Publication, _ name: String) throws(Refusal) -> Answer? {
    let request: JSONValue = message.payload.isBlank ? .object([]) : try parsed(message.payload)
    let below: UInt64 = request["seq"]?.integer() ?? 0
    let keep: UInt64 = request["keep"]?.integer() ?? 0
    let subject = request["filter"]?.stringValue ?? ""
    if below > 0, keep > 0 { throw .badRequest }
    let stream = try stream(named: name)
    if stream.configuration.isSealed { throw .sealed }
    if stream.configuration.denyPurge { throw .purgeFailed("stream purge not permitted") }
    if stream.isReplicated {
      // What is applied between the request and the purge stays.
      let through = below == 0 && keep == 0 ? stream.lastSequence + 1 : below
      stream.proposals.append(
        Proposal(content: .purge(subject, below: through, keep: keep, message.reply)))
      commitsIfAtOnce(stream)
      return nil
    }
    return .purged(stream.purge(subject, below: below, keep: keep))
  }

  private func deleteMessage(_ message: Publication, _ name: String) throws(Refusal) -> Answer? {
    if message.payload.isBlank { throw .badRequest }
    let sequence: UInt64 = try parsed(message.payload)["seq"]?.integer() ?? 0
    let stream = try stream(named: name)
    if stream.configuration.isSealed { throw .sealed }
    if stream.configuration.denyDelete {
      throw .messageDeleteFailed("message delete not permitted")
    }
    if stream.isReplicated {
      stream.proposals.append(Proposal(content: .remove(sequence, message.reply)))
      commitsIfAtOnce(stream)
    } else {
      remove(sequence, from: stream, message.reply)
    }
    return nil
  }

  // MARK: - Reading

  private struct Query {
    var sequence: UInt64
    var last: String
    var next: String

    init(_ json: JSONValue) {
      sequence = json["seq"]?.integer() ?? 0
      last = json["last_by_subj"]?.stringValue ?? ""
      next = json["next_by_subj"]?.stringValue ?? ""
    }

    var isEmpty: Bool { sequence == 0 && last.isEmpty && next.isEmpty }
    var isContradictory: Bool { !last.isEmpty && (sequence > 0 || !next.isEmpty) }

    func run(_ store: MessageStore) -> StoredMessage? {
      if !next.isEmpty { return store.next(from: sequence, on: next) }
      return sequence > 0 ? store[sequence] : store.last(on: last)
    }
  }

  private func stored(_ message: Publication, _ name: String) throws(Refusal) -> StoredMessage {
    if message.payload.isBlank { throw .badRequest }
    let query = Query(try parsed(message.payload))
    if query.isEmpty || query.isContradictory { throw .badRequest }
    guard let found = query.run(try stream(named: name).store) else { throw .noMessage }
    return found
  }

  /// - Parameter replica: who answers: 0 is the leader, 1… its followers, which may be behind.
  public func directGet(
    _ message: Publication, stream name: String, subject: String, replica: Int = 0
  ) {
    guard let stream = streams[name], stream.configuration.allowDirect else { return }
    func failed(_ status: Int, _ text: String) {
      reply(message.reply, .directFailed(status: status, text))
    }
    var query: Query
    if message.payload.isEmpty {
      if subject.isEmpty { return failed(408, "Empty Request") }
      query = Query(.object([]))
      query.last = subject
    } else {
      guard let json = try? JSONValue(parsing: message.payload) else {
        return failed(408, "Malformed Request")
      }
      query = Query(json)
      if !subject.isEmpty {
        guard query.isEmpty else { return failed(408, "Bad Request") }
        query.last = subject
      }
      if query.isEmpty { return failed(408, "Empty Request") }
      if query.isContradictory { return failed(408, "Bad Request") }
    }
    let followers = stream.replicas?.followers ?? []
    let store =
      replica > 0 && replica <= followers.count ? followers[replica - 1].store : stream.store
    guard let found = query.run(store) else { return failed(404, "Message Not Found") }
    reply(message.reply, .direct(stream: name, found))
  }
}

extension [UInt8] {
  /// Nothing is asked for: no payload, or an empty object.
  var isBlank: Bool {
    isEmpty || filter { $0 > 32 } == Array("{}".utf8) || filter { $0 > 32 } == Array("[]".utf8)
  }
}
