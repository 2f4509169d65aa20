import Foundation
import NATS
import NIOCore
import TestRandom
import TestServers
import Testing

@Suite("Connection order")
struct ConnectOrderTests {
  private func addresses(_ names: String...) throws -> [NATSServerAddress] {
    try names.map { try NATSServerAddress(url: $0) }
  }

  private func order(
    _ configured: [NATSServerAddress], _ discovered: [NATSServerAddress] = [],
    shuffle: Bool = false,
    stagger: Duration = .milliseconds(250), timeout: Duration = .seconds(5)
  ) -> ConnectOrder {
    var random = SeededRandom(seed: 7)
    return ConnectOrder(
      configured: configured, discovered: discovered, shuffle: shuffle, stagger: stagger,
      timeout: timeout, using: &random)
  }

  @Test("configured servers come before announced ones, each once")
  func configuredFirst() throws {
    let configured = try addresses("a:1", "b:1", "a:1")
    let order = order(configured, try addresses("c:1", "b:1", "d:1", "c:1"))
    let names = order.candidates.map(\.endpoint)
    #expect(names.prefix(2) == ["a:1", "b:1"])
    #expect(Set(names.dropFirst(2)) == ["c:1", "d:1"] && names.count == 4)
  }

  @Test("only configured servers are shuffled among themselves")
  func shuffled() throws {
    let configured = try (0..<20).map { try NATSServerAddress(url: "c\($0):1") }
    let discovered = try (0..<20).map { try NATSServerAddress(url: "d\($0):1") }
    let names = order(configured, discovered, shuffle: true).candidates.map(\.endpoint)
    #expect(names.prefix(20).allSatisfy { $0.hasPrefix("c") })
    #expect(Array(names.prefix(20)) != configured.map(\.endpoint))
    #expect(names.dropFirst(20).allSatisfy { $0.hasPrefix("d") } && names.count == 40)
  }

  @Test("of many announced servers few are tried, and all attempts start within the timeout")
  func bounded() throws {
    let discovered = try (0..<20_000).map { try NATSServerAddress(url: "h\($0):1") }
    let order = order(try addresses("a:1"), discovered)
    #expect(order.candidates.count == 1 + ConnectOrder.maximumDiscovered)
    #expect(order.stagger * order.candidates.count <= .seconds(5))
    #expect(self.order(try addresses("a:1")).stagger == .milliseconds(250))
  }

  @Test("INFO keeps a bounded number of addresses, each once", arguments: [100, 4_000, 20_000])
  func info(count: Int) throws {
    let urls = (0..<count).map { "\"10.\($0 >> 16).\($0 >> 8 & 255).\($0 & 255):4222\"" }
    let twice = (urls + urls).joined(separator: ",")
    let long = "\"\(String(repeating: "x", count: 5000)):1\""
    let info = try NATSServerInfo(parsing: "{\"connect_urls\":[\(long),\(twice),7]}".utf8)
    #expect(info.connectURLs.count == min(count, NATSServerInfo.maximumConnectURLs))
    #expect(Set(info.connectURLs).count == info.connectURLs.count)
    #expect(info.connectURLs.allSatisfy { $0.utf8.count < 300 })
  }

  @Test(
    "numbers out of range keep the defaults or end the connection",
    arguments: [
      "0", "-0", "-1", "9223372036854775807", "9223372036854775808", "18446744073709551616",
      "1e400", "-1e400", "0.5", "1E9", String(repeating: "9", count: 400),
    ])
  func numbers(text: String) throws {
    let info = try? NATSServerInfo(
      parsing: """
        {"max_payload":\(text),"client_id":\(text),"version":"\(text).\(text).\(text)"}
        """.utf8)
    if let info { #expect(info.maxPayload > 0 && info.maxPayload <= Int(Int32.max)) }
    for line in [
      "MSG a \(text) \(text)\r\n", "HMSG a 1 \(text) \(text)\r\n", "MSG a 1 \(text)\r\n",
    ] {
      var parser = NATSParser(payloadLimit: 1 << 20)
      let bytes = Array(line.utf8)
      bytes.withUnsafeBytes { buffer in
        // An error or an incomplete message: never a trap, and never more than was received.
        if let found = try? parser.next(buffer) { #expect(found.length <= buffer.count) }
      }
    }
  }
}
