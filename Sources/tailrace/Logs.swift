import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import Synchronization

/// A logger as the configuration asks: lines on stderr, as JSON or as text. Once in a process: those
/// that libraries make for themselves write the same way from then on.
func makeLogger(_ settings: LogSettings) -> Logger {
  setLogLevel(settings.level)
  LoggingSystem.bootstrap { _ in LineLogHandler(json: settings.format == .json) }
  return Logger(label: "tailrace")
}

/// Of every logger that has no level of its own.
func setLogLevel(_ level: LogSettings.Level) {
  commonLevel.withLock { $0 = Logger.Level(rawValue: level.rawValue) ?? .info }
}

private let commonLevel = Mutex(Logger.Level.info)

/// One line a message, written with a single call, so that lines of several threads don't mix.
struct LineLogHandler: LogHandler {
  let json: Bool
  var logLevel: Logger.Level {
    get { ownLevel ?? commonLevel.withLock { $0 } }
    set { ownLevel = newValue }
  }
  private var ownLevel: Logger.Level?
  var metadata = Logger.Metadata()

  init(json: Bool) { self.json = json }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let all = metadata.merging(event.metadata ?? [:]) { $1 }.sorted { $0.key < $1.key }
    let time = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    var line: String
    if json {
      var value: JSONValue = [
        "time": .string(time), "level": .string(event.level.rawValue),
        "message": .string("\(event.message)"),
      ]
      for (key, text) in all { value[key] = .string("\(text)") }
      line = TerminalText.printableJSON(value.text())
    } else {
      // Names, documents and servers' words are in it: one message is one line, and nothing drives a terminal.
      line = "\(time) \(event.level.rawValue) \(printable("\(event.message)"))"
      for (key, text) in all { line += " \(key)=\(printable("\(text)"))" }
    }
    StandardError.write(line + "\n")
  }
}
