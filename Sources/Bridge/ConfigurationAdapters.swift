import BridgeConfiguration
import Foundation
import JSON
import JetStream
import Mapping
import MongoSource
import NATS

/// From the configuration's words to the modules' own.
extension BridgeConfiguration {
  var mongoSourceOptions: MongoSourceOptions {
    MongoSourceOptions(
      uri: source.uri.reveal(), readConcernMajority: source.readConcern == .majority)
  }

  func mapper(sourceName: String) -> Mapper {
    Mapper(
      rules: rules, sourceName: sourceName,
      redactionKey: redactionKey.map { Array($0.reveal().utf8) })
  }

  var start: RunOptions.Start {
    switch source.start {
    case .now: .now
    case .oldest: .oldest
    case .snapshot: .snapshot
    case .position(let position): .at(position)
    }
  }

  var natsServers: [NATSServerAddress] {
    nats.servers.map { server in
      var address = NATSServerAddress(
        host: server.host, port: server.port, tls: server.requiresTLS)
      address.user = server.user ?? server.token?.reveal()
      address.password = server.password?.reveal()
      return address
    }
  }

  /// Reads credentials and seed files anew each time, so that rotated ones are taken up.
  func natsOptions() throws(BridgeError) -> NATSOptions {
    var options = NATSOptions(name: nats.name)
    switch nats.authentication {
    case .none: break
    case .token(let token): options.authentication = .token(token.reveal())
    case .user(let user, let password):
      options.authentication = .userPassword(user: user, password: password.reveal())
    case .nkeySeed(let file):
      options.authentication = .nkey(
        seed: try secretFile(file).trimmingCharacters(in: .whitespacesAndNewlines))
    case .credentials(let file):
      do {
        options.authentication = try .credentialsFile(contents: try secretFile(file))
      } catch let error as NATSError {
        throw .configuration("nats.credentials_file \(file): \(error.message)")
      } catch {
        throw .configuration("nats.credentials_file \(file): \(error)")
      }
    }
    if nats.tls.isRequired {
      options.tls = NATSTLS(
        caFile: nats.tls.caFile, certificateFile: nats.tls.certificateFile,
        keyFile: nats.tls.keyFile, handshakeFirst: nats.tls.handshakeFirst)
    }
    return options
  }

  private func secretFile(_ path: String) throws(BridgeError) -> String {
    do {
      return try String(contentsOfFile: path, encoding: .utf8)
    } catch {
      throw .configuration("\(path) can't be read: \(error.localizedDescription)")
    }
  }

  /// Whether the configuration itself asks for memory storage on this stream.
  func allowsMemoryStorage(_ stream: String) -> Bool {
    streams.first { $0.name == stream }?.settings["storage"]?.stringValue == "memory"
  }
}

extension StreamSpec {
  /// Nil: chosen by server and stream.
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
