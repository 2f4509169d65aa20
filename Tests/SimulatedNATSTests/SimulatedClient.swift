import JSON
import SimulatedJetStream
import SimulatedNATS

/// Clients of a simulated server, without a network: what they send arrives at once, and so do the answers.
final class SimulatedClients {
  let model: SimulatedServer
  let server: SimulatedNATSServer
  private var readers: [Int: FrameReader] = [:]

  static let options =
    #"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}"#

  init(_ version: ServerVersion, now: Int64 = 1_795_000_000_000_000_000) {
    model = SimulatedServer(version, now: now)
    server = SimulatedNATSServer(model)
  }

  /// A connection that has got INFO.
  func accept() -> Int {
    let number = server.accept()
    readers[number] = FrameReader()
    return number
  }

  /// A connection that is ready; its greeting is thrown away.
  func connect(_ options: String = options) throws -> Int {
    let number = accept()
    _ = try send("CONNECT \(options)\r\nPING\r\n", on: number)
    return number
  }

  /// - Returns: what that connection is sent.
  @discardableResult
  func send(_ text: String, on connection: Int) throws -> [Frame] {
    server.receive(Array(text.utf8), on: connection)
    return try frames(of: connection)
  }

  func frames(of connection: Int) throws -> [Frame] {
    server.drain { number, bytes in readers[number]?.append(bytes) }
    return try readers[connection]?.frames() ?? []
  }

  func advance(nanoseconds: Int64) {
    model.advance(to: model.now + nanoseconds)
    server.advance()
  }
}

/// `PUB` with a reply subject.
func request(_ subject: String, _ body: String = "", reply: String = "in.1") -> String {
  "PUB \(subject) \(reply) \(body.utf8.count)\r\n\(body)\r\n"
}
