import Dispatch
import Foundation
import MongoSource
import Synchronization
import Testing

/// Real mongod servers, from scripts/lab.py. They end with this process.
///
/// Invariant behind `@unchecked Sendable`: the pipes are used only by `send`, under `lock`.
final class MongoLab: @unchecked Sendable {
  struct Failure: Error, CustomStringConvertible { var description: String }

  let uri: String
  let members: [Member]
  private let process: Process
  private let commands: FileHandle
  private let answers: FileHandle
  private let lock = NSLock()
  private var unread = Data()

  struct Member: Sendable {
    var port: Int
    var folder: String
  }

  /// One member, shared by tests that leave the server running.
  static let shared = Task.detached { try await start(members: 1) }

  static func start(members: Int) async throws -> MongoLab {
    try await blocking { try MongoLab(members: members) }
  }

  private init(members count: Int) throws {
    process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.currentDirectoryURL = Self.root
    process.arguments = [
      "python3", "scripts/lab.py", "run", "--mongod", "\(count)", "--nats", "0",
    ]
    let input = Pipe()
    let output = Pipe()
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    commands = input.fileHandleForWriting
    answers = output.fileHandleForReading
    var line = Data()
    while let byte = try answers.read(upToCount: 1), byte != Data([10]) { line.append(byte) }
    guard let ready = try? Self.decoder.decode(Ready.self, from: line) else {
      throw Failure(description: "lab.py did not start: \(String(decoding: line, as: UTF8.self))")
    }
    uri = ready.mongodbUri
    members = ready.mongod.map { Member(port: $0.port, folder: $0.dir) }
  }

  private static var decoder: JSONDecoder {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return decoder
  }

  private struct Ready: Decodable {
    struct Server: Decodable {
      var pid: Int32
      var port: Int
      var dir: String
    }
    var mongodbUri: String
    var mongod: [Server]
  }

  private struct Answer: Decodable {
    var ok: Bool
    var error: String?
    var index: Int?
    var mongod: [Ready.Server]?
  }

  enum Signal: String {
    case kill = "KILL"
    case terminate = "TERM"
  }

  func kill(_ member: Int = 0, _ signal: Signal = .kill) async throws {
    _ = try await send(#"{"kill":"mongod","index":\#(member),"signal":"\#(signal.rawValue)"}"#)
  }

  /// Returns when the member answers again.
  func start(_ member: Int = 0) async throws {
    _ = try await send(#"{"start":"mongod","index":\#(member)}"#)
  }

  /// Waits for a writable primary, and until all running members have joined.
  func waitUntilUsable() async throws { _ = try await send(#"{"wait":"mongod"}"#) }

  func primary() async throws -> Int {
    guard let index = try await send(#"{"primary":true}"#).index else {
      throw Failure(description: "there is no primary")
    }
    return index
  }

  /// The current process of a member.
  func pid(_ member: Int = 0) async throws -> Int32 {
    guard let servers = try await send(#"{"status":true}"#).mongod else {
      throw Failure(description: "lab.py doesn't say its servers")
    }
    return servers[member].pid
  }

  func stop() async throws { _ = try? await send(#"{"stop":true}"#) }

  private func send(_ command: String) async throws -> Answer {
    try await blocking { [self] in
      let line = try lock.withLock {
        try commands.write(contentsOf: Data((command + "\n").utf8))
        return try readLine()
      }
      let answer = try Self.decoder.decode(Answer.self, from: line)
      guard answer.ok else {
        throw Failure(description: "\(command): \(answer.error ?? "refused")")
      }
      return answer
    }
  }

  private func readLine() throws -> Data {
    while true {
      if let end = unread.firstIndex(of: 10) {
        let line = unread[..<end]
        unread = Data(unread[(end + 1)...])
        return Data(line)
      }
      let more = answers.availableData
      guard !more.isEmpty else { throw Failure(description: "lab.py has ended") }
      unread.append(more)
    }
  }

  // MARK: Other servers

  static let root = (0..<4).reduce(URL(fileURLWithPath: #filePath)) { url, _ in
    url.deletingLastPathComponent()
  }

  /// Runs a script of the project and returns its exit code and last line of output.
  static func run(_ arguments: [String]) -> (Int32, String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.currentDirectoryURL = root
    process.arguments = ["python3"] + arguments
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    do { try process.run() } catch { return (-1, "\(error)") }
    let text = String(
      decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    let last = text.split(separator: "\n").last.map(String.init) ?? ""
    return (process.terminationStatus, last)
  }
}

/// A mongod that belongs to no replica set yet; stopped by `stop` or with this process.
///
/// Invariant behind `@unchecked Sendable`: `process` is used only by the test that created it.
final class LoneMongod: @unchecked Sendable {
  let port: Int
  private let process = Process()
  private let folder: URL

  var uri: String { "mongodb://127.0.0.1:\(port)/" }

  /// Its state for a failing test: whether it runs, and the end of its log.
  var condition: String {
    let log = (try? String(contentsOf: folder.appendingPathComponent("log"), encoding: .utf8)) ?? ""
    let state = process.isRunning ? "runs" : "ended (\(process.terminationStatus))"
    return "the mongod on \(port) \(state):\n"
      + log.split(separator: "\n").suffix(5).joined(separator: "\n")
  }

  static func start(_ arguments: [String] = [], version: String? = nil) async throws -> LoneMongod {
    try await withCheckedThrowingContinuation { continuation in
      starter.add {
        continuation.resume(with: Result { try LoneMongod(arguments, version: version) })
      }
    }
  }

  private static let starter = Starter()

  private init(_ arguments: [String], version: String?) throws {
    let program = try MongoProgram.path(version)
    folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("tailrace-mongod-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    port = Self.freePort()
    // Through setpriv, so that the kernel stops it should this process end first.
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
      [
        "setpriv", "--pdeathsig", "KILL", program, "--dbpath", folder.path, "--port", "\(port)",
        "--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25",
        "--logpath", folder.appendingPathComponent("log").path,
      ] + arguments
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
  }

  /// The command that initiates it as its own replica set.
  func initiate(_ set: String) -> String {
    let member = #"{"_id":0,"host":"127.0.0.1:\#(port)"}"#
    return #"{"replSetInitiate":{"_id":"\#(set)","members":[\#(member)]}}"#
  }

  /// An unused port below the range of outgoing connections.
  private static func freePort() -> Int {
    while true {
      let port = Int.random(in: 10_000..<32_000)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = in_port_t(port).bigEndian
      address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
      let probe = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      defer { close(probe) }
      let size = socklen_t(MemoryLayout<sockaddr_in>.size)
      let bound = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(probe, $0, size) }
      }
      if bound == 0 { return port }
    }
  }

  func stop() {
    // A clean shutdown would take long, and its data are deleted anyway.
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    try? FileManager.default.removeItem(at: folder)
  }
}

/// A thread that never ends. For the kernel, the *thread* that started a process is its parent, and
/// `--pdeathsig` kills the process when that ends, which a pool's thread does after some idle seconds.
private final class Starter: Sendable {
  private let work = Mutex<[@Sendable () -> Void]>([])
  private let added = DispatchSemaphore(value: 0)

  init() {
    Thread.detachNewThread { [self] in
      while true {
        added.wait()
        work.withLock { $0.removeFirst() }()
      }
    }
  }

  func add(_ body: @escaping @Sendable () -> Void) {
    work.withLock { $0.append(body) }
    added.signal()
  }
}

/// mongod from scripts/fetch.py.
enum MongoProgram {
  /// The default version for tests, also of lab.py.
  static let chosen = ProcessInfo.processInfo.environment["TAILRACE_MONGOD_VERSION"]

  /// The major version for tests.
  static let major = Int((chosen ?? "6").split(separator: ".").first ?? "6") ?? 6

  /// Fetches it the first time. Nil: the selected version, or the default.
  static func path(_ version: String? = nil) throws -> String {
    let version = version ?? chosen
    let (code, output) = MongoLab.run(
      ["scripts/fetch.py", "mongod"] + (version.map { [$0] } ?? []))
    guard code == 0 else { throw MongoLab.Failure(description: output) }
    return output
  }
}

extension Trait where Self == ConditionTrait {
  /// Skips, with the reason, on servers older than `major`.
  static func since(_ major: Int, _ reason: Comment) -> Self {
    .enabled(if: MongoProgram.major >= major, reason)
  }

  /// Skips, with the reason, if no mongod of that version is available.
  static func needsMongod(_ version: String? = nil) -> Self {
    var missing: String?
    do {
      _ = try MongoProgram.path(version)
    } catch {
      missing = "no mongod: \(error)"
    }
    let reason = missing
    return .enabled(if: reason == nil, Comment(rawValue: reason ?? ""))
  }
}

/// Runs a blocking call outside the cooperative pool.
func blocking<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
  try await withCheckedThrowingContinuation { continuation in
    DispatchQueue.global().async {
      continuation.resume(with: Result { try body() })
    }
  }
}

/// The newest majority-committed entry. A newly elected primary may not know it yet.
func majorityPosition(
  _ options: MongoSourceOptions
) async throws(MongoError) -> ResumePoint {
  let deadline = ContinuousClock.now + .seconds(180)
  while true {
    do throws(MongoError) {
      return try await MongoAdmin.majorityPosition(options)
    } catch {
      guard error.isTransient, ContinuousClock.now < deadline else { throw error }
    }
    try? await Task.sleep(for: .milliseconds(50))
  }
}
