import BridgeConfiguration
import JSON
import JetStream
import Logging
import Mapping
import NATS

/// A stream that exists, fits, and has its way of publishing chosen.
struct PreparedStream: Sendable {
  var name: String
  var info: StreamInfo
  var mode: JetStream.PublishProtocol
  var exclusive: Bool
  /// Only dead letters go here.
  var isDeadLetter: Bool
}

/// Makes JetStream hold what the configuration asks for, and chooses each stream's protocol.
struct StreamSetup: Sendable {
  let configuration: BridgeConfiguration
  let logger: Logger

  static let firstAtomic = NATSVersion(2, 12, 1)
  static let firstFast = NATSVersion(2, 14, 0)

  /// All streams in the configuration's order; the dead-letter stream last, unless it is one of them.
  func prepare(
    _ jetStream: JetStreamClient, version: NATSVersion, cautious: Set<String>
  ) async throws -> [PreparedStream] {
    var prepared: [PreparedStream] = []
    for stream in configuration.streams {
      var settings = stream.settings
      settings["subjects"] = .array(stream.subjects.map { .string($0) })
      prepared.append(
        try await ensure(
          jetStream, stream.name, settings, wanted: stream.forcedProtocol,
          exclusive: stream.ownership == .exclusive, isDeadLetter: false, version: version,
          cautious: cautious.contains(stream.name)))
      for consumer in stream.consumers {
        try await jetStream.ensureConsumer(stream: stream.name, settings: consumer)
      }
    }
    if !prepared.contains(where: { $0.name == configuration.deadLetter.stream }) {
      prepared.append(try await prepareDeadLetters(jetStream, prepared, version))
    }
    return prepared
  }

  /// The dead-letter stream is made if it is missing; an existing one keeps its settings.
  private func prepareDeadLetters(
    _ jetStream: JetStreamClient, _ others: [PreparedStream], _ version: NATSVersion
  ) async throws -> PreparedStream {
    let name = configuration.deadLetter.stream
    var settings = JSONValue.object([])
    if try await jetStream.stream(name) == nil {
      settings = [
        "subjects": [.string(configuration.deadLetter.subject.pattern)], "storage": "file",
        "num_replicas": .int(others.map(\.info.replicas).max() ?? 1),
        "duplicate_window": .int(600_000_000_000),
      ]
    }
    // Several bridges may share it, and dead letters are few: one at a time, on any server.
    return try await ensure(
      jetStream, name, settings, wanted: .single, exclusive: false, isDeadLetter: true,
      version: version, cautious: false)
  }

  private func ensure(
    _ jetStream: JetStreamClient, _ name: String, _ settings: JSONValue,
    wanted: JetStream.PublishProtocol?, exclusive: Bool, isDeadLetter: Bool, version: NATSVersion,
    cautious: Bool
  ) async throws -> PreparedStream {
    let replicas = settings["num_replicas"]?.integer(Int.self)
    var mode =
      wanted ?? Self.choose(version: version, replicas: replicas ?? 1, exclusive: exclusive)
    if let wanted, let least = Self.least(wanted), version < least {
      throw BridgeError.configuration(
        "stream \(name): publish: \(wanted.rawValue) needs nats-server \(least), this is \(version)"
      )
    }
    if wanted == .chain, !exclusive {
      throw BridgeError.configuration(
        "stream \(name): publish: chain works only where the bridge is the only publisher (ownership: exclusive)"
      )
    }
    var settings = settings
    if mode == .atomic { settings["allow_atomic"] = true }
    if mode == .fast { settings["allow_batched"] = true }
    let (done, info) = try await jetStream.ensureStream(name, settings: settings)
    switch done {
    case .created: logger.info("stream created", metadata: ["stream": "\(name)"])
    case .updated(let fields):
      logger.info(
        "stream updated",
        metadata: ["stream": "\(name)", "fields": "\(fields.joined(separator: " "))"])
    case .unchanged: break
    }
    try check(name, info)
    if wanted == nil, mode == .atomic, !info.allowsAtomic { mode = exclusive ? .chain : .single }
    if wanted == nil, mode == .fast, !info.allowsBatched { mode = exclusive ? .chain : .single }
    return PreparedStream(
      name: name, info: info, mode: cautious ? .single : mode, exclusive: exclusive,
      isDeadLetter: isDeadLetter)
  }

  /// By what was measured (docs/publish-protocols.md): replicated streams gain most from atomic
  /// batches, single ones from fast ingest; the chain serves every older server.
  static func choose(version: NATSVersion, replicas: Int, exclusive: Bool)
    -> JetStream.PublishProtocol
  {
    if replicas > 1, version >= firstAtomic { return .atomic }
    if version >= firstFast { return .fast }
    if version >= firstAtomic, !exclusive { return .atomic }
    return exclusive ? .chain : .single
  }

  private static func least(_ mode: JetStream.PublishProtocol) -> NATSVersion? {
    switch mode {
    case .atomic: firstAtomic
    case .fast: firstFast
    case .chain, .single: nil
    }
  }

  /// Settings under which acknowledged events would not be safe.
  private func check(_ name: String, _ info: StreamInfo) throws {
    let config = info.config
    func refuse(_ why: String) -> BridgeError { .configuration("stream \(name): \(why)") }
    if config["mirror"] != nil { throw refuse("it is a mirror: nothing can be published to it") }
    if config["sealed"]?.boolValue == true {
      throw refuse("it is sealed: nothing can be published to it")
    }
    if config["no_ack"]?.boolValue == true {
      throw refuse("no_ack is set: nothing would be acknowledged; set it to false")
    }
    if config["persist_mode"]?.stringValue == "async" {
      throw refuse("persist_mode is async: an acknowledged event could be lost; set it to default")
    }
    if config["storage"]?.stringValue == "memory", !configuration.allowsMemoryStorage(name) {
      throw refuse(
        "storage is memory: events would not survive a restart; say storage: memory in the configuration if that is meant"
      )
    }
  }
}
