import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Operator
import UnixSignals

struct StatusCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "A running bridge on one screen, from its HTTP endpoint.",
    discussion: """
      Exit code 1 if health is stalled, gap or failed, 69 if no bridge answers, 78 if it refuses the token or \
      is another one.
      """)

  @OptionGroup var file: ConfigurationOption
  @Flag(help: "Again every second, until interrupted; rates are of the last second.") var watch =
    false
  @Flag(help: "One line a second, for logs, until interrupted.") var line = false
  @Option(
    help:
      "Ask at http://HOST:PORT instead of http.listen, as of a forwarded port; http.token is sent there."
  )
  var url: String?
  @Flag(help: "The document of /status; with --watch one a line.") var json = false

  func validate() throws {
    if let url, HTTPAddress(url) == nil {
      throw ValidationError("--url takes http://HOST:PORT, not '\(url)'")
    }
    if line, watch || json { throw ValidationError("--line goes without --watch and --json") }
  }

  func run() async throws {
    let client = try client()
    let first = try await ask(client)
    guard watch || line else {
      if json { print(first.text(pretty: true)) } else { Self.draw(StatusScreen(first)) }
      if StatusScreen.isUnhealthy(first) { throw ExitCode(1) }
      return
    }
    let ends = await UnixSignalsSequence(trapping: .sigterm, .sigint)
    await withTaskGroup(of: Void.self) { group -> Void in
      group.addTask { for await _ in ends { return } }
      group.addTask { await follow(client, first) }
      await group.next()
      // An answer that is outstanding is not waited for.
      Foundation.exit(0)
    }
  }

  private func client() throws -> StatusClient {
    let environment = ProcessInfo.processInfo.environment
    let path = file.path(environment)
    if let address = url.flatMap({ HTTPAddress($0) }) {
      // Its file need not be on the machine from which a bridge is looked at.
      let isNamed = file.config != nil || environment["TAILRACE_CONFIG"] != nil
      let isThere = isNamed || FileManager.default.fileExists(atPath: path)
      return StatusClient(address, isThere ? try loadConfiguration(path, environment) : nil)
    }
    let configuration = try loadConfiguration(path, environment)
    do throws(BridgeError) {
      return try StatusClient(configuration)
    } catch {
      printError(error.description)
      throw ExitCode(error.exitCode)
    }
  }

  private func ask(_ client: StatusClient) async throws -> JSONValue {
    do throws(BridgeError) {
      return try await client.ask()
    } catch {
      printError(printable(error.description))
      throw ExitCode(error.exitCode)
    }
  }

  /// Until the task is cancelled. A bridge that goes away meanwhile may come back.
  private func follow(_ client: StatusClient, _ first: JSONValue) async {
    var before: JSONValue?
    var answer: Result<JSONValue, BridgeError> = .success(first)
    var next = ContinuousClock.now
    while !Task.isCancelled {
      show(answer, since: before)
      if case .success(let document) = answer { before = document } else { before = nil }
      next = max(next + .seconds(1), .now)
      try? await Task.sleep(until: next)
      do throws(BridgeError) {
        answer = .success(try await client.ask())
      } catch {
        answer = .failure(error)
      }
    }
  }

  private func show(_ answer: Result<JSONValue, BridgeError>, since before: JSONValue?) {
    let time = Date.now.formatted(.iso8601)
    switch answer {
    case .success(let document):
      if line { return print(StatusLine.text(document, since: before, at: time)) }
      if json { return print(TerminalText.printableJSON(document.text())) }
      Self.redraw(StatusScreen(document, since: before).lines)
    case .failure(let error):
      let text = StatusLine.text(unreachable: error.description, at: time)
      if line { return print(text) }
      if json { return printNote(text) }
      Self.redraw([StatusScreen.Line(text: text, tone: .bad)])
    }
  }

  // MARK: - Drawing

  private static func draw(_ screen: StatusScreen) {
    let isTerminal = isatty(STDOUT_FILENO) == 1
    for line in screen.lines { print(isTerminal ? coloured(line, line.text) : line.text) }
  }

  /// In place on a terminal, cut to its size; else a block behind the last one.
  private static func redraw(_ lines: [StatusScreen.Line]) {
    guard isatty(STDOUT_FILENO) == 1 else {
      printPart(lines.map { $0.text + "\n" }.joined() + "\n")
      return
    }
    var size = winsize()
    let isKnown = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_row > 1
    let rows = isKnown ? Int(size.ws_row) - 1 : 24
    let columns = isKnown ? Int(size.ws_col) : 80
    let shown = lines.prefix(rows).map { line in
      coloured(line, String(line.text.prefix(columns))) + "\u{1B}[K\n"
    }
    printPart("\u{1B}[H" + shown.joined() + "\u{1B}[J")
  }

  private static func coloured(_ line: StatusScreen.Line, _ text: String) -> String {
    let hasColours = ProcessInfo.processInfo.environment["NO_COLOR"]?.isEmpty ?? true
    let code: String? =
      switch line.tone {
      case .plain: nil
      case .heading: "1"
      case .good: hasColours ? "32" : nil
      case .warning: hasColours ? "33" : nil
      case .bad: hasColours ? "1;31" : "1"
      }
    return code.map { "\u{1B}[\($0)m\(text)\u{1B}[0m" } ?? text
  }
}
