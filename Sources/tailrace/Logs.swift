import BridgeConfiguration
import Foundation
import JSON
import Logging

/// A logger as the configuration asks: lines on stderr, as JSON or as text.
func makeLogger(_ settings: LogSettings) -> Logger {
  var logger = Logger(label: "tailrace") { _ in
    LineLogHandler(json: settings.format == .json)
  }
  logger.logLevel = Logger.Level(rawValue: settings.level.rawValue) ?? .info
  return logger
}

/// One line a message, written with a single call, so that lines of several threads don't mix.
struct LineLogHandler: LogHandler {
  let json: Bool
  var logLevel = Logger.Level.info
  var metadata = Logger.Metadata()

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
      line = value.text()
    } else {
      line = "\(time) \(event.level.rawValue) \(event.message)"
      for (key, text) in all { line += " \(key)=\(text)" }
    }
    line += "\n"
    FileHandle.standardError.write(Data(line.utf8))
  }
}
