import Foundation
import NATS
import NIOCore
import NIOPosix
import TestServers
import Testing

/// Prints the cost of the fast paths; asserts only that nothing is lost.
@Suite("Throughput", .newestServer, .serialized)
struct ThroughputTests {
  /// CPU time of the calling thread in microseconds, without other tests.
  private static func threadTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
  }

  /// Writes chunks of lines while the socket is writable.
  private final class Writer {
    let connection: NATSConnection
    let chunk: ByteBuffer
    var left: Int
    let done: EventLoopPromise<Void>

    init(_ connection: NATSConnection, chunk: ByteBuffer, count: Int, done: EventLoopPromise<Void>)
    {
      self.connection = connection
      self.chunk = chunk
      self.left = count
      self.done = done
    }

    func write() {
      while left > 0, connection.isWritable {
        // A new buffer for each, as in a publisher.
        var copy = ByteBufferAllocator().buffer(capacity: chunk.readableBytes)
        copy.writeImmutableBuffer(chunk)
        connection.writeRaw(copy)
        connection.flushWrites()
        left -= 1
      }
      if left == 0 { done.succeed() }
    }
  }

  private final class Counter: NATSRawHandler {
    var count = 0
    var bytes = 0
    func received(_ message: borrowing NATSMessageView) {
      count += 1
      bytes += message.payload.count
    }
  }

  private func lines(_ line: String, chunkSize: Int) -> (ByteBuffer, perChunk: Int) {
    let perChunk = max(1, chunkSize / line.utf8.count)
    return (ByteBuffer(string: String(repeating: line, count: perChunk)), perChunk)
  }

  private func write(_ connection: NATSConnection, _ chunk: ByteBuffer, count: Int) async throws
    -> Double
  {
    let done = connection.eventLoop.makePromise(of: Void.self)
    let before = try await connection.eventLoop.submit { () -> Double in
      let before = Self.threadTime()
      let writer = Writer(connection, chunk: chunk, count: count, done: done)
      connection.onWritabilityChange { if $0 { writer.write() } }
      writer.write()
      return before
    }.get()
    try await done.futureResult.get()
    try await connection.flush(timeout: .seconds(60))
    return try await connection.eventLoop.submit { Self.threadTime() - before }.get()
  }

  @Test("CPU per message: 400-byte HPUB lines written raw")
  func outbound() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let connection = try await server.connect()
      let headers = "NATS/1.0\r\nNats-Msg-Id: rs0:1700000000.1.0\r\n\r\n"
      let body = String(repeating: "x", count: 400 - headers.utf8.count)
      let line = "HPUB bench.subject \(headers.utf8.count) 400\r\n\(headers)\(body)\r\n"
      let (chunk, perChunk) = lines(line, chunkSize: 64 << 10)
      let chunks = 300_000 / perChunk
      let time = try await write(connection, chunk, count: chunks)
      let messages = Double(chunks * perChunk)
      print("NATS outbound: \(rounded(time / messages)) µs CPU/message (\(Int(messages)) of 400 B)")
      await connection.close()
    }
  }

  @Test("CPU per message: small acks received raw")
  func inbound() async throws {
    try await TestServer.with(ServerBinary.newest) { server in
      let group = MultiThreadedEventLoopGroup(numberOfThreads: 2)
      let loops = Array(group.makeIterator())
      let address = try NATSServerAddress(url: server.address)
      let writer = try await NATSConnection.connect(to: [address], on: loops[0], logger: quiet)
      let reader = try await NATSConnection.connect(to: [address], on: loops[1], logger: quiet)
      let counter = NIOLoopBoundBox.makeBoxSendingValue(Counter(), eventLoop: loops[1])
      _ = try await loops[1].submit {
        reader.subscribeRaw("_INBOX.abcdefghijklmnopqrstuv.>", handler: counter.value)
      }.get()
      try await reader.flush()
      let ack = "{\"stream\":\"CHAT\", \"seq\":1234567}"
      let line = "PUB _INBOX.abcdefghijklmnopqrstuv.123 \(ack.utf8.count)\r\n\(ack)\r\n"
      let (chunk, perChunk) = lines(line, chunkSize: 16 << 10)
      let chunks = 400_000 / perChunk
      let before = try await loops[1].submit { Self.threadTime() }.get()
      _ = try await write(writer, chunk, count: chunks)
      try await reader.flush(timeout: .seconds(60))
      let time = try await loops[1].submit { Self.threadTime() - before }.get()
      let received = try await loops[1].submit { counter.value.count }.get()
      #expect(received == chunks * perChunk)
      print("NATS inbound: \(rounded(time / Double(received))) µs CPU/message (\(received) acks)")
      await writer.close()
      await reader.close()
      try await group.shutdownGracefully()
    }
  }

  private func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
}
