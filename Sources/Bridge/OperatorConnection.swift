import BridgeConfiguration
package import JetStream
package import Logging
package import NATS
package import NIOCore

extension BridgeConfiguration {
  /// Lends a connection of its own to an operator's command.
  package func withJetStream<T>(
    _ logger: Logger, on eventLoop: (any EventLoop)? = nil, by transport: NATSTransport = .tcp,
    _ body: (JetStreamClient) async throws(BridgeError) -> T
  ) async throws(BridgeError) -> T {
    let connection: NATSConnection
    do {
      connection = try await NATSConnection.connect(
        to: natsServers, options: try natsOptions(), on: eventLoop, by: transport, logger: logger)
    } catch let error as BridgeError {
      throw error
    } catch {
      throw .unavailable("NATS: \(error)")
    }
    let result: Result<T, BridgeError>
    do throws(BridgeError) {
      result = .success(try await body(JetStreamClient(connection)))
    } catch {
      result = .failure(error)
    }
    await connection.close()
    return try result.get()
  }
}
