package import Foundation
package import Logging
package import NATS
import Synchronization

/// Where servers come from: `scripts/fetch.py`, once per version.
package enum ServerBinary {
  package static let versions = ["2.9.10", "2.10.26", "2.12.8", "2.15.1"]
  package static let newest = "2.15.1"

  /// Those that this machine has or can fetch; `AvailabilityTests` names the others.
  package static let available = versions.filter { path($0) != nil }
  package static let withHandshakeFirst = available.filter {
    NATSVersion($0).map { $0 >= NATSVersion(2, 10, 4) } ?? false
  }

  private static let paths = Mutex<[String: String?]>([:])

  package static func path(_ version: String) -> String? {
    paths.withLock { paths in
      if let known = paths[version] { return known }
      let found = fetch("nats-server", version)
      paths[version] = .some(found)
      return found
    }
  }

  /// A Python that has nats-py.
  package static let python = fetch("venv")

  package static let openssl = [
    "/usr/bin/openssl", "/usr/local/bin/openssl", "/opt/homebrew/bin/openssl",
  ]
  .first { FileManager.default.isExecutableFile(atPath: $0) }

  private static func fetch(_ arguments: String...) -> String? {
    let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let script = root.appendingPathComponent("scripts/fetch.py").path
    guard let (status, output) = try? run("/usr/bin/env", ["python3", script] + arguments),
      status == 0
    else { return nil }
    let path = output.trimmingCharacters(in: .whitespacesAndNewlines)
    return FileManager.default.isExecutableFile(atPath: path) ? path : nil
  }
}

/// Runs a program to its end; its standard output.
@discardableResult
package func run(_ program: String, _ arguments: [String], in folder: URL? = nil) throws
  -> (status: Int32, output: String)
{
  let process = Process()
  process.executableURL = URL(fileURLWithPath: program)
  process.arguments = arguments
  process.currentDirectoryURL = folder
  process.standardInput = FileHandle.nullDevice
  let output = Pipe()
  process.standardOutput = output
  process.standardError = FileHandle.nullDevice
  try process.run()
  let data = output.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return (process.terminationStatus, String(decoding: data, as: UTF8.self))
}

package struct TestFailure: Error, CustomStringConvertible {
  package var description: String
  package init(_ description: String) { self.description = description }
}

/// A nats-server on a free loopback port, in a temporary folder.
package final class TestServer: Sendable {
  package let version: String
  package let folder: URL
  package let port: Int
  private let process: Mutex<Process>
  package let pid: Int32

  package var address: String { "127.0.0.1:\(port)" }

  private init(version: String, folder: URL, port: Int, process: sending Process) {
    self.version = version
    self.folder = folder
    self.port = port
    self.pid = process.processIdentifier
    self.process = Mutex(process)
  }

  /// Starts a server, waits until it listens, and stops it after `body` in any case.
  package static func with<T: Sendable>(
    _ version: String, configuration: String = "", folder: URL? = nil,
    _ body: (TestServer) async throws -> T
  ) async throws -> T {
    let server = try await start(version, configuration: configuration, folder: folder)
    do {
      let result = try await body(server)
      await server.stop()
      return result
    } catch {
      await server.stop()
      throw error
    }
  }

  private static func start(_ version: String, configuration: String, folder: URL?) async throws
    -> TestServer
  {
    guard let binary = ServerBinary.path(version) else {
      throw TestFailure("no nats-server \(version)")
    }
    let folder = try folder ?? temporaryFolder()
    let file = folder.appendingPathComponent("server.conf")
    // The server chooses a port and writes it into a file.
    let text = "listen: 127.0.0.1:-1\nports_file_dir: \"\(folder.path)\"\n" + configuration
    try text.write(to: file, atomically: true, encoding: .utf8)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: binary)
    process.arguments = ["-c", file.path, "-l", folder.appendingPathComponent("log").path]
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    let pid = process.processIdentifier
    let ports = folder.appendingPathComponent("nats-server_\(pid).ports")
    for _ in 0..<3600 {
      if let data = try? Data(contentsOf: ports),
        let json = try? JSONSerialization.jsonObject(with: data) as? [String: Any],
        let url = (json["nats"] as? [String])?.first,
        let port = url.split(separator: ":").last.flatMap({ Int($0) })
      {
        return TestServer(version: version, folder: folder, port: port, process: process)
      }
      guard process.isRunning else { break }
      try await Task.sleep(for: .milliseconds(50))
    }
    if process.isRunning { process.terminate() }
    let log = try? String(contentsOf: folder.appendingPathComponent("log"), encoding: .utf8)
    throw TestFailure("nats-server \(version) did not start: \(log ?? "no log")")
  }

  package func signal(_ number: Int32) { kill(pid, number) }

  private func stop() async {
    kill(pid, SIGCONT)
    kill(pid, SIGKILL)
    while process.withLock({ $0.isRunning }) { try? await Task.sleep(for: .milliseconds(10)) }
    try? FileManager.default.removeItem(at: folder)
  }

  package func connect(
    _ options: NATSOptions = NATSOptions(), url: String? = nil
  ) async throws -> NATSConnection {
    try await NATSConnection.connect(
      to: [NATSServerAddress(url: url ?? "nats://\(address)")], options: options,
      logger: quiet)
  }
}

/// The tests look at errors, not at logs.
package let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

package func temporaryFolder() throws -> URL {
  let folder = FileManager.default.temporaryDirectory
    .appendingPathComponent("tailrace-nats-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  return folder
}

/// Gives up on something that would otherwise hang the whole run.
package func within<T: Sendable>(
  _ limit: Duration = .seconds(120), _ body: @escaping @Sendable () async throws -> T
) async throws -> T {
  try await withThrowingTaskGroup(of: T.self) { group in
    group.addTask(operation: body)
    group.addTask {
      try await Task.sleep(for: limit)
      throw TestFailure("nothing happened within \(limit)")
    }
    defer { group.cancelAll() }
    guard let first = try await group.next() else { throw TestFailure("no result") }
    return first
  }
}

/// The code that `body` fails with; nil when it doesn't.
package func failure<T>(_ body: () async throws -> T) async -> NATSError? {
  do {
    _ = try await body()
    return nil
  } catch {
    return error as? NATSError ?? NATSError(.serverError, "unexpected: \(error)")
  }
}
