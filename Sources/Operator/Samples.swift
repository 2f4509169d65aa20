import Bridge
public import BridgeConfiguration
import Foundation
public import JSON

/// Recorded events and the messages they must become: tests of a mapping that need no server.
///
/// A folder holds pairs of files: `NAME.events.json` with change events (canonical Extended JSON, one a
/// line, as `tailrace decode` prints them), and `NAME.messages.json` with the messages, one a line, as
/// `tailrace decode --messages` prints them.
public struct Samples {
  private let configuration: BridgeConfiguration
  private let folder: String

  private static let eventsSuffix = ".events.json"
  private static let messagesSuffix = ".messages.json"

  public init(_ configuration: BridgeConfiguration, folder: String) {
    self.configuration = configuration
    self.folder = folder
  }

  public struct Unreadable: Error, CustomStringConvertible {
    public var description: String
  }

  /// What one pair of files came to.
  public struct Outcome: Sendable {
    public var name: String
    public var events: Int
    public var messages: Int
    /// Nil: the messages are those that were recorded.
    public var difference: Difference?
    /// The messages were recorded now.
    public var isWritten = false
  }

  /// The first place where what is made and what was recorded part.
  public struct Difference: Sendable {
    /// Of the file of messages, from 1.
    public var line: Int
    /// Nil: there is one more in the record, or none is recorded at all.
    public var made: String?
    /// Nil: there is one less in the record.
    public var recorded: String?
  }

  /// All pairs, by name. `writing`: what is made becomes the record.
  public func check(writing: Bool) throws -> [Outcome] {
    try names().map { try check($0, writing: writing) }
  }

  private func names() throws -> [String] {
    var isFolder: ObjCBool = false
    let exists = FileManager.default.fileExists(atPath: folder, isDirectory: &isFolder)
    guard exists, isFolder.boolValue else {
      throw Unreadable(
        description:
          "\(folder) is \(exists ? "no folder" : "not there"): name a folder with recorded "
          + "events, in files NAME\(Self.eventsSuffix)")
    }
    let files: [String]
    do {
      files = try FileManager.default.contentsOfDirectory(atPath: folder)
    } catch {
      throw Unreadable(description: "\(folder) can't be read: \(error.localizedDescription)")
    }
    let names = files.filter { $0.hasSuffix(Self.eventsSuffix) }
      .map { String($0.dropLast(Self.eventsSuffix.count)) }.sorted()
    guard !names.isEmpty else {
      throw Unreadable(description: "\(folder) holds no file NAME\(Self.eventsSuffix)")
    }
    return names
  }

  /// The messages that the recorded events become, by rule; dead letters are left out. Each as
  /// `tailrace decode --messages` prints it.
  public func messagesByRule() throws -> [String: [JSONValue]] {
    var found: [String: [JSONValue]] = [:]
    for name in try names() {
      for line in try messages(name).messages {
        guard let message = try? JSONValue(parsing: line),
          let rule = message["headers"]?["Tailrace-Rule"]?.stringValue,
          message["headers"]?["Tailrace-Error"] == nil
        else { continue }
        found[rule, default: []].append(message)
      }
    }
    return found
  }

  private func check(_ name: String, writing: Bool) throws -> Outcome {
    let (count, made) = try messages(name)
    var outcome = Outcome(name: name, events: count, messages: made.count, difference: nil)
    let path = "\(folder)/\(name)\(Self.messagesSuffix)"
    let recorded = (try? String(contentsOfFile: path, encoding: .utf8)).map(Self.lines)
    if writing {
      if recorded != made {
        do {
          try ResultFile.replace(path, with: made.map { $0 + "\n" }.joined())
        } catch {
          throw Unreadable(description: "\(error)")
        }
        outcome.isWritten = true
      }
      return outcome
    }
    guard let recorded else {
      outcome.difference = Difference(line: 1, made: made.first, recorded: nil)
      return outcome
    }
    for line in 0..<max(made.count, recorded.count) {
      let one = line < made.count ? made[line] : nil
      let other = line < recorded.count ? recorded[line] : nil
      if one != other {
        outcome.difference = Difference(line: line + 1, made: one, recorded: other)
        break
      }
    }
    return outcome
  }

  private func messages(_ name: String) throws -> (events: Int, messages: [String]) {
    let path = "\(folder)/\(name)\(Self.eventsSuffix)"
    let text: String
    do {
      text = try String(contentsOfFile: path, encoding: .utf8)
    } catch {
      throw Unreadable(description: "\(path) can't be read: \(error.localizedDescription)")
    }
    let decoder = OfflineDecoder(.messages(configuration))
    var made: [String] = []
    let events = Self.lines(text)
    for event in events {
      do throws(OfflineDecoder.Failure) {
        try decoder.map(event: event) { made.append($0) }
      } catch {
        throw Unreadable(description: "\(path): \(error)")
      }
    }
    return (events.count, made)
  }

  private static func lines(_ text: String) -> [String] {
    text.split(whereSeparator: \.isNewline).map(String.init)
  }
}
