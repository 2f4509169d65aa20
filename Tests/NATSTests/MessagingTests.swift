import Foundation
import NATS
import NIOCore
import Synchronization
import TestServers
import Testing

@Suite("Messages", .timeLimit(.minutes(5)))
struct MessagingTests {
  @Test("publish and subscribe, with and without headers", arguments: ServerBinary.available)
  func publishSubscribe(version: String) async throws {
    try await TestServer.with(version) { server in
      let connection = try await server.connect()
      #expect(connection.info.version.description == version)
      #expect(connection.info.headers)
      let subscription = try await connection.subscribe("a.*")
      let headers: NATSHeaders = ["Nats-Msg-Id": "1", "x": "a", "x": "b", "empty": ""]
      try await connection.publish("a.b", reply: "r", headers: headers, payload: "hello")
      try await connection.publish("a.c", payload: [0, 13, 10, 255])
      try await connection.publish("not.this", payload: "x")
      try await connection.publish("a.d", payload: ByteBuffer())
      try await within {
        let first = try #require(try await subscription.next())
        #expect(first.subject == "a.b")
        #expect(first.reply == "r")
        #expect(first.headers == headers)
        #expect(String(buffer: first.payload) == "hello")
        let second = try #require(try await subscription.next())
        #expect(second.headers == nil)
        #expect(second.reply == nil)
        #expect(Array(second.payload.readableBytesView) == [0, 13, 10, 255])
        let third = try #require(try await subscription.next())
        #expect(third.subject == "a.d")
        #expect(third.payload.readableBytes == 0)
      }
      await connection.close()
    }
  }

  @Test("order is kept over many messages from one task", arguments: ServerBinary.available)
  func order(version: String) async throws {
    try await TestServer.with(version) { server in
      let connection = try await server.connect()
      let subscription = try await connection.subscribe("n")
      let count = 20_000
      for n in 0..<count { try await connection.publish("n", payload: "\(n)") }
      try await within {
        for n in 0..<count {
          let message = try #require(try await subscription.next())
          guard String(buffer: message.payload) == "\(n)" else {
            throw TestFailure("\(String(buffer: message.payload)) in place of \(n)")
          }
        }
      }
      await connection.close()
    }
  }

  @Test("a large message in both directions", arguments: ServerBinary.available)
  func large(version: String) async throws {
    try await TestServer.with(version, configuration: "max_payload: 8MB") { server in
      let connection = try await server.connect()
      let subscription = try await connection.subscribe("big")
      let payload = (0..<8_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      try await connection.publish("big", payload: payload)
      let message = try await within { try #require(try await subscription.next()) }
      #expect(message.payload == ByteBuffer(bytes: payload))
      await connection.close()
    }
  }

  @Test("request: answer, no responders, timeout", arguments: ServerBinary.available)
  func request(version: String) async throws {
    try await TestServer.with(version) { server in
      let connection = try await server.connect()
      let service = try await connection.subscribe("echo")
      let responder = Task {
        for try await message in service {
          guard let reply = message.reply else { continue }
          try await connection.publish(
            reply, headers: message.headers, payload: message.payload)
        }
      }
      let answers = try await within {
        try await withThrowingTaskGroup(of: Bool.self) { group in
          for n in 0..<200 {
            group.addTask {
              let answer = try await connection.request(
                "echo", headers: ["n": "\(n)"], payload: Array("p\(n)".utf8))
              return String(buffer: answer.payload) == "p\(n)" && answer.headers?["n"] == "\(n)"
            }
          }
          return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
      }
      #expect(answers == 200)
      let nobody = await failure { try await connection.request("nobody.there") }
      #expect(nobody?.code == .noResponders)
      #expect(nobody?.message.contains("nobody.there") == true)
      let silent = try await connection.subscribe("silent")
      let timeout = await failure {
        try await connection.request("silent", timeout: .milliseconds(50))
      }
      #expect(timeout?.code == .timeout)
      await silent.unsubscribe()
      responder.cancel()
      await connection.close()
    }
  }

  @Test("a cancelled request ends at once and leaves the connection usable", .newestServer)
  func cancelledRequest() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let connection = try await server.connect()
      let silent = try await connection.subscribe("silent")
      let request = Task {
        await failure { try await connection.request("silent", timeout: .seconds(600)) }
      }
      _ = try await within { try await silent.next() }
      request.cancel()
      let error = try await within { await request.value }
      #expect(error?.code == .cancelled)
      let early = Task { () -> NATSError? in
        withUnsafeCurrentTask { $0?.cancel() }
        return await failure { try await connection.request("silent", timeout: .seconds(600)) }
      }
      let earlyError = try await within { await early.value }
      #expect(earlyError?.code == .cancelled)
      try await connection.flush()
      await connection.close()
    }
  }

  @Test("invalid messages are errors before they are sent", arguments: ServerBinary.available)
  func refusals(version: String) async throws {
    try await TestServer.with(version, configuration: "max_payload: 1000") { server in
      let connection = try await server.connect()
      #expect(connection.info.maxPayload == 1000)
      func code(_ body: () async throws -> Void) async -> NATSError.Code? {
        await failure(body)?.code
      }
      let tooLarge = await failure {
        try await connection.publish("a", payload: [UInt8](repeating: 0, count: 1001))
      }
      #expect(tooLarge?.code == .payloadTooLarge)
      #expect(tooLarge?.message.contains("1000") == true)
      // Headers count.
      #expect(
        await code {
          try await connection.publish(
            "a", headers: ["a": "b"], payload: [UInt8](repeating: 0, count: 990))
        } == .maxPayload)
      #expect(await code { try await connection.publish("a.*") } == .invalidSubject)
      #expect(await code { try await connection.publish("a b") } == .invalidSubject)
      #expect(await code { try await connection.publish("a", reply: ">") } == .invalidSubject)
      #expect(await code { _ = try await connection.subscribe("a..b") } == .invalidSubject)
      #expect(
        await code { _ = try await connection.subscribe("a", queue: "q q") } == .invalidSubject)
      #expect(
        await code { try await connection.publish("a", headers: ["a\r\nb": ""]) } == .invalidHeader)
      #expect(
        await code { try await connection.publish("a", headers: ["a": "x\r\ny"]) } == .invalidHeader
      )
      #expect(await code { try connection.enqueue("a.>") } == .invalidSubject)
      #expect(
        await code { _ = try await connection.request("", timeout: .seconds(1)) } == .invalidSubject
      )
      // None of it has reached the server: the connection is open, and accepts an exact fit.
      try await connection.publish("a", payload: [UInt8](repeating: 0, count: 1000))
      try await connection.flush()
      await connection.close()
    }
  }

  @Test("unsubscribe now, and after a number of messages", arguments: ServerBinary.available)
  func unsubscribe(version: String) async throws {
    try await TestServer.with(version) { server in
      let connection = try await server.connect()
      let some = try await connection.subscribe("u")
      let none = try await connection.subscribe("u")
      await some.unsubscribe(max: 3)
      await none.unsubscribe()
      for n in 0..<5 { try await connection.publish("u", payload: "\(n)") }
      try await connection.flush()
      let received = try await within {
        var texts: [String] = []
        for try await message in some { texts.append(String(buffer: message.payload)) }
        return texts
      }
      #expect(received == ["0", "1", "2"])
      #expect(try await none.next() == nil)
      await connection.close()
    }
  }

  @Test("members of a queue group share the messages", arguments: ServerBinary.available)
  func queueGroup(version: String) async throws {
    try await TestServer.with(version) { server in
      let connection = try await server.connect()
      let one = try await connection.subscribe("q", queue: "g")
      let two = try await connection.subscribe("q", queue: "g")
      for _ in 0..<100 { try await connection.publish("q") }
      try await connection.flush()
      await one.unsubscribe()
      await two.unsubscribe()
      let counts = try await within {
        var counts = [0, 0]
        for try await _ in one { counts[0] += 1 }
        for try await _ in two { counts[1] += 1 }
        return counts
      }
      #expect(counts[0] + counts[1] == 100)
      await connection.close()
    }
  }

  @Test(
    "a full buffer ends the subscription, with an error after the buffered messages", .newestServer)
  func slowConsumer() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let connection = try await server.connect()
      let subscription = try await connection.subscribe("s", maximumCount: 10)
      for n in 0..<50 { try await connection.publish("s", payload: "\(n)") }
      try await connection.flush()
      try await within {
        for n in 0..<10 {
          let message = try #require(try await subscription.next())
          #expect(String(buffer: message.payload) == "\(n)")
        }
        let error = await failure { try await subscription.next() }
        #expect(error?.code == .slowConsumer)
      }
      try await connection.flush()
      await connection.close()
    }
  }

  @Test("echo off: our subscriptions don't receive our messages", arguments: ServerBinary.available)
  func noEcho(version: String) async throws {
    try await TestServer.with(version) { server in
      let connection = try await server.connect(NATSOptions(echo: false))
      let other = try await server.connect()
      let subscription = try await connection.subscribe("e")
      try await connection.publish("e", payload: "own")
      try await connection.flush()
      try await other.publish("e", payload: "other")
      let message = try await within { try #require(try await subscription.next()) }
      #expect(String(buffer: message.payload) == "other")
      await connection.close()
      await other.close()
    }
  }

  @Test("verbose and pedantic modes", arguments: ServerBinary.available)
  func verbose(version: String) async throws {
    try await TestServer.with(version) { server in
      let connection = try await server.connect(NATSOptions(verbose: true, pedantic: true))
      let subscription = try await connection.subscribe("v")
      try await connection.publish("v", headers: ["a": "b"], payload: "x")
      let message = try await within { try #require(try await subscription.next()) }
      #expect(message.headers?["a"] == "b")
      await connection.close()
    }
  }

  @Test("flush and drain lose nothing", arguments: ServerBinary.available)
  func drain(version: String) async throws {
    try await TestServer.with(version) { server in
      let reader = try await server.connect()
      let writer = try await server.connect()
      let subscription = try await reader.subscribe("d")
      try await reader.flush()
      for n in 0..<5000 { try await writer.publish("d", payload: "\(n)") }
      try await writer.drain()
      #expect(try await writer.closed.get() == nil)
      try await reader.drain()
      let received = try await within {
        var count = 0
        for try await message in subscription {
          #expect(String(buffer: message.payload) == "\(count)")
          count += 1
        }
        return count
      }
      #expect(received == 5000)
      let late = await failure { try await reader.publish("d") }
      #expect(late?.code == .closed)
      let lateSubscription = await failure { try await reader.subscribe("d") }
      #expect(lateSubscription?.code == .closed)
      let lateFlush = await failure { try await reader.flush() }
      #expect(lateFlush?.code == .closed)
      let lateRequest = await failure { try await reader.request("d") }
      #expect(lateRequest?.code == .closed)
    }
  }

  @Test(
    "raw lines and raw subscriptions keep the order with other calls",
    arguments: ServerBinary.available)
  func raw(version: String) async throws {
    final class Collector: NATSRawHandler, Sendable {
      let texts = Mutex<[String]>([])
      func received(_ message: borrowing NATSMessageView) {
        let text = String(decoding: message.payload, as: UTF8.self)
        let id = NATSHeaders(parsing: message.headers)?["id"] ?? "-"
        let status = message.status.map { " \($0)" } ?? ""
        texts.withLock { $0.append("\(id) \(text)\(status)") }
      }
    }
    try await TestServer.with(version) { server in
      let connection = try await server.connect()
      let collector = Collector()
      let sid = try await connection.eventLoop.submit {
        let sid = connection.subscribeRaw("raw.>", handler: collector)
        try connection.enqueue("raw.a", payload: Array("first".utf8))
        var lines = ByteBuffer()
        let headers = "NATS/1.0\r\nid: 7\r\n\r\n"
        for n in 0..<3 {
          let total = headers.utf8.count + 1
          lines.writeString("HPUB raw.b  \(headers.utf8.count)   \(total)\r\n\(headers)\(n)\r\n")
        }
        #expect(connection.isWritable)
        connection.writeRaw(lines)
        // A request without responders: the status is in the headers of the answer.
        connection.writeRaw(ByteBuffer(string: "PUB nobody raw.r 0\r\n\r\n"))
        connection.flushWrites()
        return sid
      }.get()
      try await connection.flush()
      #expect(collector.texts.withLock { $0 } == ["- first", "7 0", "7 1", "7 2", "-  503"])
      try await connection.eventLoop.submit { connection.unsubscribeRaw(sid) }.get()
      try await connection.publish("raw.a", payload: "late")
      try await connection.flush()
      #expect(collector.texts.withLock { $0.count } == 5)
      await connection.close()
    }
  }

  @Test("a raw handler may close the connection in the middle of a read", .newestServer)
  func closeFromHandler() async throws {
    final class Closer: NATSRawHandler, Sendable {
      let connection: NATSConnection
      let count = Mutex(0)
      init(_ connection: NATSConnection) { self.connection = connection }
      func received(_ message: borrowing NATSMessageView) {
        count.withLock { $0 += 1 }
        // Violates the protocol, so that the server closes; also closes and unsubscribes here.
        connection.writeRaw(ByteBuffer(string: "NONSENSE\r\n"))
        connection.flushWrites()
        connection.unsubscribeRaw(2)
      }
    }
    try await TestServer.with(ServerBinary.newest) { server in
      let connection = try await server.connect()
      let closer = Closer(connection)
      try await connection.eventLoop.submit {
        let sid = connection.subscribeRaw("c", handler: closer)
        #expect(sid == 2)
        connection.writeRaw(ByteBuffer(string: String(repeating: "PUB c 1\r\nx\r\n", count: 100)))
        connection.flushWrites()
      }.get()
      let error = try await within { try await connection.closed.get() }
      #expect(error?.code == .serverError)
      #expect(closer.count.withLock { $0 } == 1)
    }
  }

  @Test("publishing waits while the socket is full, and continues afterwards", .newestServer)
  func backPressure() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let connection = try await server.connect(NATSOptions(maxPendingBytes: 256 << 10))
      let other = try await server.connect()
      let subscription = try await other.subscribe(
        "p", maximumCount: 1 << 20, maximumBytes: 1 << 30)
      try await other.flush()
      server.signal(SIGSTOP)
      let sent = Mutex(0)
      let count = 40_000
      let writer = Task {
        let payload = [UInt8](repeating: 120, count: 1000)
        for _ in 0..<count {
          try await connection.publish("p", payload: payload)
          sent.withLock { $0 += 1 }
        }
      }
      // Until it stalls.
      var before = -1
      while sent.withLock({ $0 }) != before || before == 0 {
        before = sent.withLock { $0 }
        try await Task.sleep(for: .milliseconds(200))
      }
      #expect(before < count)
      let full = await failure {
        for _ in 0..<1000 {
          try connection.enqueue("p", payload: [UInt8](repeating: 0, count: 1000))
        }
      }
      #expect(full?.code == .outboundFull)
      let waiting = Task {
        await failure { try await connection.publish("p", payload: "cancelled") }
      }
      waiting.cancel()
      let cancelled = try await within { await waiting.value }
      #expect(cancelled?.code == .cancelled)
      server.signal(SIGCONT)
      try await within(.seconds(60)) { try await writer.value }
      // First the server receives all of it, then the reader.
      try await connection.flush(timeout: .seconds(60))
      try await other.flush(timeout: .seconds(60))
      await subscription.unsubscribe()
      var received = 0
      while let message = try await subscription.next() {
        if message.payload.readableBytes == 1000, message.payload.readableBytesView.first == 120 {
          received += 1
        }
      }
      #expect(received == count)
      await connection.close()
      await other.close()
    }
  }
}
