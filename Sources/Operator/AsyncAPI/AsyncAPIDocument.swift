public import BridgeConfiguration
public import JSON
import Mapping

/// An AsyncAPI 3.0 document of everything that a configuration publishes: a channel for each subject, a message for
/// each rule, with headers, schema and examples, and the dead letters. Pure.
///
/// Source: the AsyncAPI specification 3.0.0, and version 0.1.0 of its NATS bindings.
public struct AsyncAPIDocument {
  private let configuration: BridgeConfiguration
  /// By rule: messages as `tailrace decode --messages` prints them.
  private let examples: [String: [JSONValue]]
  private var channels: [Channel] = []
  /// Names of parameters by the paths of changes.
  private let parameterNames: UniqueKeys

  /// A subject, with the rules that publish to it.
  private struct Channel {
    var key: String
    var template: String
    var address: String
    /// By name of the parameter: the path that its value comes from.
    var parameters: [(name: String, path: String)]
    var route: Route
    var rules: [Int]
  }

  public init(_ configuration: BridgeConfiguration, examples: [String: [JSONValue]] = [:]) {
    self.configuration = configuration
    self.examples = examples
    let keys = UniqueKeys(configuration.rules.map(\.name))
    parameterNames = UniqueKeys(configuration.rules.flatMap { Self.paths(of: $0.subject) })
    for (index, rule) in configuration.rules.enumerated() {
      // By the template: two paths may look alike as names of parameters.
      if let known = channels.firstIndex(where: {
        $0.template == rule.subject.text && $0.route == rule.route
      }) {
        channels[known].rules.append(index)
      } else {
        let (text, parameters) = address(of: rule.subject)
        channels.append(
          Channel(
            key: keys[rule.name], template: rule.subject.text, address: text,
            parameters: parameters, route: rule.route, rules: [index]))
      }
    }
  }

  public var json: JSONValue {
    var messageKeys = UniqueKeys(configuration.rules.map(\.name))
    let names = configuration.rules.map { messageKeys[$0.name] }
    let letters = messageKeys.take("dead_letter")
    var channelKeys = UniqueKeys(channels.map(\.key))
    let letterChannel = channelKeys.take("dead_letters")
    return .object([
      .init("asyncapi", "3.0.0"),
      .init("info", info),
      .init("defaultContentType", "application/json"),
      .init("servers", .object(servers)),
      .init(
        "channels",
        .object(
          channels.map { .init($0.key, json(of: $0, names)) }
            + [.init(letterChannel, deadLetters(letters))])),
      .init(
        "operations",
        .object(
          channels.map { .init("publish_\($0.key)", operation($0.key, $0.rules.map { names[$0] })) }
            + [.init("publish_\(letterChannel)", operation(letterChannel, [letters]))])),
      .init(
        "components",
        .object([
          .init(
            "messages",
            .object(
              configuration.rules.indices.map { .init(names[$0], message($0, names[$0])) }
                + [.init(letters, AsyncAPIMessage.deadLetter)]))
        ])),
    ])
  }

  private var info: JSONValue {
    .object([
      .init("title", .string(configuration.bridge.name)),
      .init("version", .string(configuration.hash)),
      .init(
        "description",
        .string(
          "What the bridge \(configuration.bridge.name) publishes: changes of MongoDB, in the order of the "
            + "oplog. The version is the configuration's hash.")),
    ])
  }

  /// Addresses without users, passwords and tokens.
  private var servers: [JSONValue.Member] {
    configuration.nats.servers.enumerated().map { index, server in
      let name = server.host.contains(":") ? "[\(server.host)]" : server.host
      return .init(
        "nats\(index)",
        .object([
          .init("host", .string("\(name):\(server.port)")),
          .init("protocol", .string(server.requiresTLS ? "nats+tls" : "nats")),
        ]))
    }
  }

  // MARK: - Channels

  private static func paths(of template: Template) -> [String] {
    template.pieces.compactMap { piece in
      if case .path(let path) = piece { path.text } else { nil }
    }
  }

  /// A subject's template as an address: each path is a parameter, named by what may be in such a name.
  private func address(
    of template: Template
  ) -> (String, [(name: String, path: String)]) {
    var address = ""
    var parameters: [(name: String, path: String)] = []
    for piece in template.pieces {
      switch piece {
      case .literal(let text): address += text
      case .path(let path):
        let name = parameterNames[path.text]
        if !parameters.contains(where: { $0.path == path.text }) {
          parameters.append((name, path.text))
        }
        address += "{\(name)}"
      }
    }
    return (address, parameters)
  }

  private func json(of channel: Channel, _ names: [String]) -> JSONValue {
    var members: [JSONValue.Member] = [
      .init("address", .string(channel.address)),
      .init("description", .string(description(of: channel.route))),
      .init(
        "messages",
        .object(channel.rules.map { .init(names[$0], reference("components/messages", names[$0])) })
      ),
    ]
    if !channel.parameters.isEmpty {
      members.append(
        .init(
          "parameters",
          .object(
            channel.parameters.map { name, path in
              .init(
                name,
                .object([
                  .init(
                    "description",
                    .string("\(path) of the change, escaped to be one part of a token"))
                ]))
            })))
    }
    if let index = channel.route.streamIndex {
      members.append(.init("x-jetstream", stream(configuration.streams[index])))
    }
    return .object(members)
  }

  private func description(of route: Route) -> String {
    guard let index = route.streamIndex else {
      return "Core NATS: at most once, to whoever listens; stored nowhere."
    }
    let stream = configuration.streams[index]
    if let bucket = stream.bucket {
      return "KV bucket \(bucket): a put each, a purge for a deleted document."
    }
    return stream.ownership == .exclusive
      ? "Stream \(stream.name): exactly once, in order; only the bridge publishes to it."
      : "Stream \(stream.name): exactly once, by Nats-Msg-Id; others publish to it, too."
  }

  /// What is configured, by JetStream's own names.
  private func stream(_ stream: StreamSpec) -> JSONValue {
    var members: [JSONValue.Member] = [.init("stream", .string(stream.name))]
    if let bucket = stream.bucket { members.append(.init("bucket", .string(bucket))) }
    members.append(.init("subjects", .array(stream.subjects.map { .string($0) })))
    members.append(.init("ownership", .string(stream.ownership.rawValue)))
    members.append(.init("configuration", stream.settings))
    let consumers = stream.consumers.compactMap { $0["durable_name"] ?? $0["name"] }
    if !consumers.isEmpty { members.append(.init("consumers", .array(consumers))) }
    return .object(members)
  }

  private func deadLetters(_ message: String) -> JSONValue {
    let stream = configuration.deadLetter.stream
    var address = ""
    var parameters: [JSONValue.Member] = []
    var keys = UniqueKeys([])
    for (index, part) in configuration.deadLetter.subject.text.split(
      omittingEmptySubsequences: false, whereSeparator: { $0 == "{" || $0 == "}" }
    ).enumerated() {
      guard index % 2 == 1 else {
        address += part
        continue
      }
      let key = keys.take(String(part))
      address += "{\(key)}"
      parameters.append(
        .init(key, .object([.init("description", .string("\(part) of the event"))])))
    }
    var members: [JSONValue.Member] = [
      .init("address", .string(address)),
      .init(
        "description",
        .string("Stream \(stream): events that could not become a message, and why.")),
      .init("messages", .object([.init(message, reference("components/messages", message))])),
      .init("x-jetstream", .object([.init("stream", .string(stream))])),
    ]
    if !parameters.isEmpty { members.insert(.init("parameters", .object(parameters)), at: 3) }
    return .object(members)
  }

  private func operation(_ channel: String, _ messages: [String]) -> JSONValue {
    .object([
      .init("action", "send"),
      .init("channel", reference("channels", channel)),
      .init(
        "messages",
        .array(messages.map { reference("channels/\(channel)/messages", $0) })),
      .init("bindings", ["nats": ["bindingVersion": "0.1.0"]]),
    ])
  }

  private func reference(_ path: String, _ name: String) -> JSONValue {
    .object([.init("$ref", .string("#/\(path)/\(name)"))])
  }

  private func message(_ index: Int, _ key: String) -> JSONValue {
    let rule = configuration.rules[index]
    return AsyncAPIMessage(
      rule: rule, schema: configuration.schemas[index],
      namesBridge: rule.streamIndex.map { configuration.bridgeMark.streams[$0] } ?? false,
      place: "/components/messages/\(key)"
    ).json(examples: examples[rule.name] ?? [])
  }
}

/// Keys of an AsyncAPI document: letters, digits, `_` and `-`, each once. Which text gets which key doesn't depend on
/// the texts' order.
struct UniqueKeys {
  private var taken: Set<String> = []
  private var keys: [String: String] = [:]

  init(_ texts: [String]) {
    let texts = Set(texts).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    // What is a key as it is stays so.
    for text in texts where Self.plain(text) == text { keys[text] = take(text) }
    for text in texts where keys[text] == nil { keys[text] = take(text) }
  }

  /// Of a text that it was made with.
  subscript(text: String) -> String { keys[text] ?? Self.plain(text) }

  /// One more.
  mutating func take(_ text: String) -> String {
    let key = Self.plain(text)
    var candidate = key
    var number = 2
    while !taken.insert(candidate).inserted {
      candidate = "\(key)_\(number)"
      number += 1
    }
    return candidate
  }

  private static func plain(_ text: String) -> String {
    let key = String(
      text.unicodeScalars.map { scalar in
        let isPlain =
          scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
        return isPlain || scalar == "_" || scalar == "-" ? Character(scalar) : "_"
      })
    return key.isEmpty ? "_" : key
  }
}
