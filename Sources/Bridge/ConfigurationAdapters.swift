import BridgeConfiguration
import JSON
import JetStream
package import Mapping
package import MongoSource
package import NATS
import Oplog

/// Translates the configuration into options of the modules.
extension BridgeConfiguration {
  package var mongoSourceOptions: MongoSourceOptions {
    var options = MongoSourceOptions(
      uri: source.uri.reveal(), readConcernMajority: source.readConcern == .majority)
    if source.uri.file != nil {
      options.presentURI = { [uri = source.uri] () throws(MongoError) in
        do {
          return try uri.current()
        } catch {
          throw MongoError(
            domain: .configuration, message: "\(error)", place: "source.uri_file",
            isTransient: true)
        }
      }
    }
    return options
  }

  package func mapper(sourceName: String) -> Mapper {
    ruleSet(sourceName: sourceName).mapper
  }

  /// Which updates may be needed, for decoders.
  package var isUpdateWanted: (@Sendable (UnsafeRawBufferPointer) -> Bool)? {
    // Dead letters of unmatched events contain the whole event.
    unmatched == .deadLetter ? nil : rules.isUpdateWanted
  }

  /// How epochs are decided.
  package func epochSettings(_ options: RunOptions) -> EpochMachine.Settings {
    var settings = EpochMachine.Settings(options: options, start: start)
    if hasSignalsOnly, options.from == nil, !options.snapshot {
      // Nothing is stored, so there is nothing to continue.
      settings.options.from = .now
      settings.options.force = true
    }
    settings.snapshotsOnLoss = source.onPositionLost == .snapshot
    settings.readsOplog = source.reader == .oplog
    return settings
  }

  package var start: RunOptions.Start {
    switch source.start {
    case .now: .now
    case .oldest: .oldest
    case .snapshot: .snapshot
    case .position(let position): .at(position)
    }
  }

  package var natsServers: [NATSServerAddress] {
    nats.servers.map { server in
      var address = NATSServerAddress(
        host: server.host, port: server.port, tls: server.requiresTLS)
      address.user = server.user ?? server.token?.reveal()
      address.password = server.password?.reveal()
      return address
    }
  }

  /// Reads all files with secrets again each time, so that rotated ones are used.
  ///
  /// - Throws: `configuration`, naming key and file.
  package func natsOptions() throws(BridgeError) -> NATSOptions {
    var options = NATSOptions(name: nats.name, inboxPrefix: nats.inboxPrefix)
    options.ignoreDiscoveredServers = nats.ignoresDiscoveredServers
    do {
      switch nats.authentication {
      case .none: break
      case .token(let token): options.authentication = .token(try token.current())
      case .user(let user, let password):
        options.authentication = .userPassword(user: user, password: try password.current())
      case .nkeySeed(let file):
        options.authentication = .nkey(seed: try SecretFile.read(file))
      case .credentials(let file):
        options.authentication = try .credentialsFile(contents: try SecretFile.read(file))
      }
    } catch let error as NATSError {
      throw .configuration("nats.\(nats.authentication.fileKey): \(error.message)")
    } catch {
      throw .configuration("nats.\(nats.authentication.fileKey): \(error)")
    }
    if nats.tls.isRequired {
      options.tls = NATSTLS(
        caFile: nats.tls.caFile, certificateFile: nats.tls.certificateFile,
        keyFile: nats.tls.keyFile, handshakeFirst: nats.tls.handshakeFirst)
    }
    return options
  }

  /// Whether the configuration itself asks for memory storage on this stream.
  func allowsMemoryStorage(_ stream: String) -> Bool {
    streams.first { $0.name == stream }?.settings["storage"]?.stringValue == "memory"
  }
}

extension NATSSettings.Authentication {
  /// The key whose file holds the secret, with the file.
  fileprivate var fileKey: String {
    switch self {
    case .none: "servers"
    case .credentials(let file): "credentials_file \(file)"
    case .nkeySeed(let file): "nkey_seed_file \(file)"
    case .token: "token_file"
    case .user: "password_file"
    }
  }
}

extension StreamSpec {
  /// Nil: chosen by the server's version and the stream.
  var forcedProtocol: JetStream.PublishProtocol? {
    switch publish {
    case .auto: nil
    case .chain: .chain
    case .atomic: .atomic
    case .fast: .fast
    case .single: .single
    }
  }
}

extension [Rule] {
  /// Whether the bodies of some rule show how paths are to be read.
  package var disambiguatePaths: Bool { contains { $0.disambiguatesPaths } }

  /// Whether some rule takes updates of a namespace, as far as that is known without the event.
  var isUpdateWanted: @Sendable (UnsafeRawBufferPointer) -> Bool {
    let patterns = filter { $0.operations.contains(.update) }.map(\.namespace)
    return { name in
      let dot = name.firstIndex(of: UInt8(ascii: ".")) ?? name.count
      let database = UnsafeRawBufferPointer(rebasing: name[..<dot])
      let collection = UnsafeRawBufferPointer(rebasing: name.dropFirst(dot + 1))
      return patterns.contains { $0.matches(database: database, collection: collection) }
    }
  }
}
