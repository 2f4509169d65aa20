import NATS
import Testing

@Suite("Connection state machine")
struct StateMachineTests {
  private func info(required: Bool = false, available: Bool = false) -> NATSServerInfo {
    var info = NATSServerInfo()
    info.tlsRequired = required
    info.tlsAvailable = available
    return info
  }

  private func machine(
    _ tls: ConnectionStateMachine.TLSMode = .opportunistic, pings: Int = 2
  ) -> ConnectionStateMachine {
    ConnectionStateMachine(tls: tls, maxPingsOutstanding: pings)
  }

  private func ready() -> ConnectionStateMachine {
    var machine = machine()
    _ = machine.received(info())
    _ = machine.receivedPong()
    return machine
  }

  private func code(_ action: ConnectionStateMachine.Action) -> NATSError.Code? {
    if case .close(let error) = action { return error?.code }
    return nil
  }

  @Test("INFO, CONNECT, PONG, ready")
  func handshake() {
    var machine = machine()
    #expect(!machine.delivers)
    #expect(machine.received(info()) == .sendConnect(startTLS: false))
    #expect(machine.receivedPing() == .sendPong)
    #expect(!machine.delivers)
    #expect(machine.receivedPong() == .becomeReady)
    #expect(machine.delivers)
    #expect(machine.receivedPong() == .completePing)
    #expect(machine.received(info()) == .updateInfo)
  }

  @Test("TLS is started if either side requires it, and never dropped")
  func tls() {
    var a = machine()
    #expect(a.received(info(required: true)) == .sendConnect(startTLS: true))
    var b = machine()
    #expect(b.received(info(available: true)) == .sendConnect(startTLS: false))
    var c = machine(.required)
    #expect(c.received(info(available: true)) == .sendConnect(startTLS: true))
    var d = machine(.required)
    #expect(code(d.received(info())) == .tlsFailed)
    #expect(d.isClosed)
    var e = machine(.first)
    #expect(e.received(info(required: true)) == .sendConnect(startTLS: false))
  }

  @Test("INFO must come first")
  func order() {
    var a = machine()
    #expect(code(a.receivedPing()) == .protocolViolation)
    var b = machine()
    #expect(code(b.receivedPong()) == .protocolViolation)
    var c = machine()
    #expect(code(c.receivedEarlyMessage()) == .protocolViolation)
    var d = machine()
    _ = d.received(info())
    #expect(code(d.receivedEarlyMessage()) == .protocolViolation)
  }

  @Test("a silent server is stale after the permitted pings and one more interval")
  func stale() {
    var machine = ready()
    #expect(machine.pingTimerFired() == .sendPing)
    #expect(machine.pingTimerFired() == .sendPing)
    #expect(code(machine.pingTimerFired()) == .stale)
    #expect(machine.pingTimerFired() == .none)
  }

  @Test("any bytes from the server reset the count")
  func alive() {
    var machine = ready()
    for _ in 0..<100 {
      #expect(machine.pingTimerFired() == .sendPing)
      #expect(machine.pingTimerFired() == .sendPing)
      machine.receivedBytes()
    }
  }

  @Test(
    "-ERR is classified",
    arguments: [
      ("Authorization Violation", NATSError.Code.authenticationFailed),
      ("User Authentication Expired", .authenticationFailed),
      ("Authentication Timeout", .authenticationFailed),
      ("Account Authentication Expired", .authenticationFailed),
      ("Stale Connection", .stale),
      ("Maximum Payload Violation", .payloadTooLarge),
      ("Secure Connection - TLS Required", .tlsFailed),
      ("maximum connections exceeded", .serverError),
      ("Slow Consumer", .serverError),
      ("Unknown Protocol Operation", .serverError),
    ])
  func fatal(text: String, expected: NATSError.Code) {
    var machine = ready()
    #expect(code(machine.receivedError(text)) == expected)
    #expect(machine.isClosed)
  }

  @Test(
    "some -ERR don't end the connection",
    arguments: [
      "Permissions Violation for Publish to \"a\"", "Invalid Subject",
      "maximum subscriptions exceeded",
    ])
  func survivable(text: String) {
    var machine = ready()
    guard case .report = machine.receivedError(text) else {
      Issue.record("not reported")
      return
    }
    #expect(machine.delivers)
  }

  @Test("the subject of a violation is found")
  func violation() {
    let publish = ServerErrorText.violation("Permissions Violation for Publish to \"a.b\"")
    #expect(publish?.isPublish == true)
    #expect(publish?.subject == "a.b")
    let subscribe = ServerErrorText.violation(
      "Permissions Violation for Subscription to \"x.>\" using queue \"q\"")
    #expect(subscribe?.isPublish == false)
    #expect(subscribe?.subject == "x.>")
    #expect(ServerErrorText.violation("Permissions Violation") == nil)
    #expect(ServerErrorText.violation("Invalid Subject \"x\"") == nil)
  }

  @Test("draining starts once, closing ends everything")
  func end() {
    var machine = ready()
    let began = machine.drainRequested()
    #expect(began)
    let again = machine.drainRequested()
    #expect(!again)
    #expect(machine.delivers)
    #expect(machine.closeRequested() == .close(nil))
    #expect(machine.closeRequested() == .none)
    #expect(machine.failed(NATSError(.connectionLost, "")) == .none)
    #expect(machine.receivedPing() == .none)
    #expect(machine.receivedError("Stale Connection") == .none)
    #expect(!machine.delivers)
  }
}
