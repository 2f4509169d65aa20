import Bridge
public import BridgeConfiguration
import JSON
import JetStream
import Mapping

/// What a bridge must be allowed to do on NATS: no more, no less. docs/permissions.md tells the same.
public struct NATSRights: Sendable {
  struct Right: Sendable, Equatable {
    /// The subject to allow.
    var subject: String
    /// A subject that it covers, to try it with.
    var probe: String
    var need: Need
    /// What the bridge does with it.
    var purpose: String
  }

  enum Need: Sendable, Equatable {
    case always
    /// While the stream, or the stream's consumer (`<stream>.<consumer>`), does not exist.
    case creating(String)
    /// While the stream is not as configured.
    case updating(stream: String)
    /// The bridge works without it, at a higher cost.
    case optional
  }

  /// Requests to JetStream's API, most basic first.
  let api: [Right]
  /// Messages, by stream.
  let messages: [(stream: String, rights: [Right])]
  /// What only several instances need: the leader's subject, and fences of streams that others publish to as well.
  /// All of them are optional.
  let leadership: [Right]
  /// Subjects of signals. A message that tried one would be taken for a signal.
  let signals: [String]
  /// The checkpoint.
  let state: Right
  let inbox: String

  public init(_ configuration: BridgeConfiguration) {
    let bucket = "KV_\(configuration.bridge.stateBucket)"
    let letters = configuration.deadLetter.stream
    var names = configuration.streams.map(\.name)
    if !names.contains(letters) { names.append(letters) }
    var api: [Right] = []
    func ask(_ operation: String, _ need: Need, _ purpose: String) {
      let subject = "$JS.API.\(operation)"
      api.append(Right(subject: subject, probe: subject, need: need, purpose: purpose))
    }
    for name in names + [bucket] {
      ask("STREAM.INFO.\(name)", .always, "see stream \(name)")
      ask("STREAM.MSG.GET.\(name)", .always, "read its last messages back")
      ask("STREAM.CREATE.\(name)", .creating(name), "make it")
      if name != bucket, name != letters || configuration.deadLetterStream != nil {
        ask("STREAM.UPDATE.\(name)", .updating(stream: name), "change its settings")
      }
    }
    if configuration.schemas.contains(where: { $0?.version != nil }) {
      ask(
        "STREAM.MSG.GET.KV_\(SchemaStore.bucket)", .always,
        "compare schemas with their published versions")
    }
    if !configuration.signalRules.isEmpty {
      ask("STREAM.NAMES", .always, "see that no stream stores signals")
    }
    for stream in configuration.streams where configuration.mayRepeatIDs(stream.name) {
      ask(
        "DIRECT.GET.\(stream.name)", .optional, "compare events that it has, at a third of the cost"
      )
    }
    for stream in configuration.streams {
      for consumer in stream.consumers {
        guard let name = (consumer["durable_name"] ?? consumer["name"])?.stringValue else {
          continue
        }
        ask("CONSUMER.INFO.\(stream.name).\(name)", .always, "see the consumer")
        ask(
          "CONSUMER.DURABLE.CREATE.\(stream.name).\(name)", .creating("\(stream.name).\(name)"),
          "make the consumer, or change it")
      }
    }
    self.api = api
    var messages = configuration.streams.enumerated().map { index, stream in
      (
        stream: stream.name,
        rights: configuration.publishedSubjects(to: index).map {
          Self.publish($0, "publish events")
        }
      )
    }
    let deadLetters = Self.publish(configuration.deadLetter.subject.pattern, "write dead letters")
    if let at = messages.firstIndex(where: { $0.stream == letters }) {
      messages[at].rights.append(deadLetters)
    } else {
      messages.append((letters, [deadLetters]))
    }
    self.messages = messages
    let bridge = configuration.bridge.name
    let leader = "tailrace.\(bridge).leader"
    var shared = configuration.streams.filter { $0.ownership == .shared }.map(\.name)
    if configuration.deadLetterStream == nil { shared.append(letters) }
    leadership =
      [
        Right(
          subject: leader, probe: leader, need: .optional,
          purpose: "notice at once that the leader is gone")
      ]
      + shared.map { stream in
        let subject = FenceSubject.own(bridge: bridge, stream: stream)
        return Right(
          subject: subject, probe: subject, need: .optional,
          purpose: "shut out an instance that was replaced from stream \(stream)")
      }
    signals = configuration.signalRules.flatMap { configuration.subjectPatterns(of: $0) }
    let key = "$KV.\(configuration.bridge.stateBucket).\(configuration.bridge.name)"
    state = Right(
      subject: "\(key).>", probe: "\(key).checkpoint", need: .always, purpose: "keep the checkpoint"
    )
    inbox = "\(configuration.nats.inboxPrefix).>"
  }

  private static func publish(_ pattern: String, _ purpose: String) -> Right {
    let probe = pattern.split(separator: ".")
      .map { $0 == "*" || $0 == ">" ? "tailrace-doctor" : String($0) }.joined(separator: ".")
    return Right(subject: pattern, probe: probe, need: .always, purpose: purpose)
  }

  /// Everything to allow publishing to.
  var subjects: [String] {
    api.map(\.subject) + messages.flatMap { $0.rights.map(\.subject) } + signals + [state.subject]
  }

  /// Ready to paste into nats-server's configuration, for the bridge's user.
  public var block: String {
    let lines = subjects.map { "    \"\($0)\"" }.joined(separator: ",\n")
    return """
      permissions {
        publish { allow: [
      \(lines)
        ] }
        subscribe { allow: ["\(inbox)"] }
      }
      """
  }
}
