import JSON

/// Requests about consumers. Those of a stream with several replicas are created and changed at once.
extension SimulatedServer {
  /// - Parameter tokens: of the request's subject.
  func consumerRequest(_ message: Publication, _ tokens: [Substring]) -> Bool {
    func name(_ index: Int) -> String { index < tokens.count ? String(tokens[index]) : "" }
    switch tokens[3] {
    case "CREATE":
      answer(message, .consumerCreate) { () throws(Refusal) in
        let filter = tokens.dropFirst(6).joined(separator: ".")
        return try createConsumer(
          message, stream: name(4), tokens.count > 5 ? name(5) : nil, filter: filter)
      }
    case "DURABLE" where name(4) == "CREATE":
      answer(message, .consumerCreate) { () throws(Refusal) in
        try createConsumer(message, stream: name(5), name(6), isDurable: true)
      }
    case "INFO":
      answer(message, .consumerInfo) { () throws(Refusal) in
        .consumer(.consumerInfo, try consumer(name(5), of: name(4)).state)
      }
    case "DELETE":
      answer(message, .consumerDelete) { () throws(Refusal) in
        guard message.payload.isBlank else { throw .notEmpty }
        let consumer = try consumer(name(5), of: name(4))
        consumer.stream.remove(consumer)
        return .consumerDeleted
      }
    case "NAMES":
      answer(message, .consumerNames) { () throws(Refusal) in
        .consumerNames(try stream(named: name(4)).consumers.map(\.name).sorted())
      }
    case "MSG" where name(4) == "NEXT":
      guard let consumer = streams[name(5)]?.consumer(name(6)) else { return false }
      if !message.reply.subject.isEmpty { consumer.request(message) }
    default: break
    }
    return true
  }

  private func consumer(_ name: String, of stream: String) throws(Refusal) -> SimulatedConsumer {
    guard let consumer = try self.stream(named: stream).consumer(name) else {
      throw .consumerNotFound
    }
    return consumer
  }

  private func createConsumer(
    _ message: Publication, stream name: String, _ consumer: String?, filter: String = "",
    isDurable: Bool = false
  ) throws(Refusal) -> Answer {
    let json = try parsed(message.payload)
    var wanted = try ConsumerConfiguration(json["config"] ?? .object([]), rules)
    if json["stream_name"]?.stringValue ?? "" != name { throw .streamNameMismatch }
    if isDurable {
      if wanted.durableName.isEmpty {
        throw .consumer(
          400, 10018, "consumer expected to be durable but a durable name was not set")
      }
      if wanted.durableName != consumer { throw .durableNameMismatch }
    } else if let consumer {
      if wanted.isDurable, wanted.durableName != consumer { throw .durableNameMismatch }
      wanted.name = consumer
    } else if wanted.isDurable {
      throw .consumer(
        400, 10020, "consumer expected to be ephemeral but a durable name was set in request")
    }
    if !filter.isEmpty, wanted.filters != [filter] {
      throw .consumer(
        400, 10131, "Consumer create request did not match filtered subject from create subject")
    }
    if wanted.replicas > 1, !isClustered { throw .replicasNotSupported }
    let stream = try stream(named: name)
    let action = json["action"]?.stringValue ?? ""
    return .consumer(.consumerCreate, try stream.createConsumer(wanted, action).state)
  }

  /// What consumers can be given now, they get. Whoever drives the server calls it when it has received
  /// everything that came at once, so that requests which came together are served in turn.
  public func deliver() {
    guard hasPulls else { return }
    hasPulls = false
    for stream in ordered {
      for consumer in stream.consumers where !consumer.requests.isEmpty {
        consumer.deliver()
        if !consumer.requests.isEmpty { hasPulls = true }
      }
    }
  }

  /// `$JS.ACK.<stream>.<consumer>.<tries>.<stream seq>.…`
  func acknowledge(_ message: Publication) {
    let tokens = message.subject.split(separator: ".", omittingEmptySubsequences: false)
    guard tokens.count == 9, let sequence = UInt64(tokens[5]),
      let consumer = streams[String(tokens[2])]?.consumer(String(tokens[3]))
    else { return }
    let word = String(decoding: message.payload.prefix(5), as: UTF8.self)
    guard word.isEmpty || word == "+ACK" || word == "+TERM" else { return }
    consumer.acknowledge(sequence)
    reply(message.reply, .receipt)
  }

  var accountState: AccountState {
    func sum(_ storage: StreamConfiguration.Storage, _ of: (SimulatedStream) -> Int64) -> Int64 {
      ordered.reduce(0) { $0 + ($1.configuration.storage == storage ? of($1) : 0) }
    }
    func reserved(_ stream: SimulatedStream) -> Int64 {
      max(stream.configuration.maxBytes, 0) * Int64(stream.configuration.replicas)
    }
    return AccountState(
      memory: sum(.memory) { $0.store.bytes }, storage: sum(.file) { $0.store.bytes },
      reservedMemory: sum(.memory, reserved), reservedStorage: sum(.file, reserved),
      streams: ordered.count, consumers: ordered.reduce(0) { $0 + $1.consumers.count },
      limits: accountLimits)
  }
}

extension SimulatedStream {
  func consumer(_ name: String) -> SimulatedConsumer? { consumers.first { $0.name == name } }

  func createConsumer(_ wanted: ConsumerConfiguration, _ action: String) throws(Refusal)
    -> SimulatedConsumer
  {
    let checked = try wanted.checked(configuration, rules)
    let name = checked.isDurable ? checked.durableName : checked.name
    if !name.isEmpty, let present = consumer(name) {
      if action == "create", present.configuration.members != checked.members {
        throw .consumer(400, 10148, "consumer already exists")
      }
      try checked.replacing(present.configuration)
      let isOther = checked.filters != present.configuration.filters
      present.change(checked)
      if isOther { setInterest(present) }
      return present
    }
    if action == "update" { throw .consumerDoesNotExist }
    if configuration.maxConsumers > 0, consumers.count >= configuration.maxConsumers {
      throw .consumer(400, 10026, "maximum consumers limit reached")
    }
    if configuration.retention == .workqueue { try checkQueue(checked) }
    let made = SimulatedConsumer(
      name.isEmpty ? server.newConsumerName() : name, checked, of: self,
      replica: isReplicated ? server.consumerReplica(configuration.name) : 0,
      created: server.newTime())
    consumers.append(made)
    setInterest(made)
    return made
  }

  private func checkQueue(_ wanted: ConsumerConfiguration) throws(Refusal) {
    if wanted.ackPolicy != .explicit {
      throw .consumer(400, 10098, "workqueue stream requires explicit ack")
    }
    if wanted.delivery != .all {
      throw .consumer(400, 10101, "consumer must be deliver all on workqueue stream")
    }
    guard !consumers.isEmpty else { return }
    if wanted.filters.isEmpty {
      throw .consumer(
        400, 10099, "multiple non-filtered consumers not allowed on workqueue stream")
    }
    let taken = consumers.flatMap {
      $0.configuration.filters.isEmpty ? [">"] : $0.configuration.filters
    }
    for filter in wanted.filters
    where taken.contains(where: { SubjectPattern.collide($0, filter) }) {
      throw .consumer(400, 10100, "filtered consumer not unique on workqueue stream")
    }
  }

  /// What a consumer wants, for retention.
  private func setInterest(_ consumer: SimulatedConsumer) {
    interests.removeAll { $0.consumer == consumer.name }
    let filters = consumer.configuration.filters
    for filter in filters.isEmpty ? [">"] : filters {
      interests.append(Interest(consumer: consumer.name, subject: filter))
    }
  }

  func remove(_ consumer: SimulatedConsumer) {
    consumer.end()
    consumers.removeAll { $0 === consumer }
    interests.removeAll { $0.consumer == consumer.name }
    if configuration.retention == .interest { dropUnwanted() }
  }
}
