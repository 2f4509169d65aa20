import ArgumentParser
import BSON
import BridgeConfiguration
import Foundation
import JSON
import Mapping
import Operator
import SchemaInference

/// Brings documents of all formats to the inference.
///
/// Sendable invariant: one reader at a time uses it, and the command only after the reader has ended.
final class DocumentIntake: @unchecked Sendable {
  struct Unreadable: Error, CustomStringConvertible {
    var description: String
  }

  let inference = SchemaInference()
  /// What ended a reader's work.
  private(set) var failure: Unreadable?
  /// Bodies that are no JSON.
  private(set) var skipped = 0
  private let style: JSONStyle
  private var text = ByteWriter(capacity: 4096)

  init(_ style: JSONStyle) { self.style = style }

  func take(_ line: UnsafeRawBufferPointer, _ place: String) throws(Unreadable) {
    do {
      try inference.observe(line)
    } catch {
      throw Self.unreadable(String(decoding: line, as: UTF8.self), place, error)
    }
  }

  /// - Parameter place: file and line.
  private static func unreadable(
    _ line: String, _ place: String, _ error: any Error
  ) -> Unreadable {
    let file = place.lastIndex(of: ":").map { String(place[..<$0]) } ?? place
    let hint = LineFile.hint(line, file).map { ". \($0)" } ?? ""
    return Unreadable(description: "\(place): \(error)\(hint)")
  }

  func take(text: String, _ place: String) throws(Unreadable) {
    do {
      try inference.observe(text)
    } catch {
      throw Unreadable(description: "\(place): \(error)")
    }
  }

  func take(extended line: String, _ place: String) throws(Unreadable) {
    let document: [UInt8]
    do {
      document = try ExtendedJSON.bson(line)
    } catch {
      throw Self.unreadable(line, place, error)
    }
    try take(bson: document, place)
  }

  func take(bson document: [UInt8], _ place: String) throws(Unreadable) {
    guard document.withUnsafeBytes({ take(bson: $0, orNote: place) }) else {
      throw failure ?? Unreadable(description: place)
    }
  }

  /// False: it is the end, `failure` says why.
  func take(bson document: UnsafeRawBufferPointer, orNote place: String) -> Bool {
    text.removeAll()
    do {
      try text.appendJSON(try BSONView(document), style: style)
      try inference.observe(text.bytes)
      return true
    } catch {
      failure = Unreadable(description: "\(place): \(error)")
      return false
    }
  }

  /// A body that the bridge made.
  func take(orNote body: UnsafeRawBufferPointer) {
    guard failure == nil else { return }
    do {
      try inference.observe(body)
    } catch {
      failure = Unreadable(description: "a body: \(error)")
    }
  }

  /// A body of whomever; false if it isn't JSON.
  func take(anyBody body: [UInt8]) -> Bool {
    // What is observed can't be undone.
    guard (try? JSONValue(parsing: body)) != nil else {
      skipped += 1
      return false
    }
    body.withUnsafeBytes { take(orNote: $0) }
    return true
  }

  /// Documents one behind the other, as mongodump writes them.
  func take(dump: [UInt8], _ file: String) throws(Unreadable) {
    var at = 0
    var number = 0
    while at < dump.count {
      number += 1
      let isHead = dump.count - at >= 4
      let length = isHead ? (0..<4).reduce(0) { $0 | Int(dump[at + $1]) << (8 * $1) } : 0
      guard length >= 5, at + length <= dump.count else {
        throw Unreadable(description: "\(file): at byte \(at) there is no document")
      }
      try take(bson: Array(dump[at..<(at + length)]), "\(file):\(number)")
      at += length
    }
  }
}

/// The bodies that a rule makes of oplog entries.
final class EntryBodies {
  private let decoder: OfflineDecoder
  private let rule: String

  convenience init(_ rule: String, _ file: ConfigurationOption) throws {
    let environment = ProcessInfo.processInfo.environment
    try self.init(rule, of: try loadConfiguration(file.path(environment), environment))
  }

  init(_ rule: String, of configuration: BridgeConfiguration) throws {
    var configuration = configuration
    guard configuration.rules.contains(where: { $0.name == rule }) else {
      printError("configuration: \(Self.unknown(rule, configuration))")
      throw ExitCode(78)
    }
    // What the rule's present schema says is not the question.
    configuration.schemas = configuration.schemas.map { _ in nil }
    self.rule = rule
    decoder = OfflineDecoder(.messages(configuration))
  }

  static func unknown(_ rule: String, _ configuration: BridgeConfiguration) -> String {
    "there is no rule \(rule); there are "
      + configuration.rules.map(\.name).joined(separator: ", ")
  }

  /// Of an oplog entry in Extended JSON. Dead letters are no bodies.
  func bodies(of entry: String) throws(OfflineDecoder.Failure) -> [String] {
    var bodies: [String] = []
    try decoder.decode(entry) { if let body = body($0) { bodies.append(body.text()) } }
    return bodies
  }

  /// Of a change event in Extended JSON.
  func bodies(ofEvent event: String) throws(OfflineDecoder.Failure) -> [JSONValue] {
    var bodies: [JSONValue] = []
    try decoder.map(event: event) { if let body = body($0) { bodies.append(body) } }
    return bodies
  }

  private func body(_ message: String) -> JSONValue? {
    guard let message = try? JSONValue(parsing: message), let headers = message["headers"],
      headers["Tailrace-Rule"]?.stringValue == rule, headers["Tailrace-Error"] == nil
    else { return nil }
    return message["body"]
  }
}

/// The lines of a file, one at a time.
///
/// Safety invariant: owns the stream and the buffer; a line is valid until the next one is read.
struct LineFile: ~Copyable {
  private let stream: UnsafeMutablePointer<FILE>
  private var line: UnsafeMutablePointer<CChar>?
  private var capacity = 0
  private(set) var number = 0
  private let path: String

  init(_ path: String) throws(DocumentIntake.Unreadable) {
    let opened = try Self.opened(path)
    self.path = path
    stream = opened
  }

  private static func opened(
    _ path: String
  ) throws(DocumentIntake.Unreadable) -> UnsafeMutablePointer<FILE> {
    guard let stream = path == "-" ? fdopen(dup(STDIN_FILENO), "r") : fopen(path, "r") else {
      throw DocumentIntake.Unreadable(
        description: "\(path) can't be read: \(String(cString: strerror(errno)))")
    }
    var facts = stat()
    if fstat(fileno(stream), &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR {
      fclose(stream)
      throw DocumentIntake.Unreadable(
        description: "\(path) is a folder: name the files in it, such as \(path)/*.ndjson")
    }
    return stream
  }

  deinit {
    fclose(stream)
    free(line)
  }

  /// What to do about a line that is no document, if it is a part of one or has several.
  static func hint(_ line: some StringProtocol, _ path: String) -> String? {
    let text = line.drop { $0.isWhitespace || $0 == "\u{FEFF}" }
    let last = text.last { !$0.isWhitespace }
    let file = path == "-" ? "" : " \(path)"
    if text.first == "[" {
      return "One document a line is read here, and no array: jq -c '.[]'\(file)"
    }
    guard text.first == "{", last != "}" else { return nil }
    return "One document a line is read here, and this one continues on the next: jq -c .\(file)"
  }

  /// The next line that isn't empty.
  mutating func next() throws(DocumentIntake.Unreadable) -> UnsafeRawBufferPointer? {
    while true {
      errno = 0
      let length = getline(&line, &capacity, stream)
      guard length > 0 else {
        let reason = errno
        guard ferror(stream) == 0 else {
          // What was read by then must not look like all of it.
          throw DocumentIntake.Unreadable(
            description:
              "\(path):\(number): the rest can't be read: \(String(cString: strerror(reason)))")
        }
        return nil
      }
      number += 1
      let text = UnsafeRawBufferPointer(start: line, count: length)
      if text.contains(where: { $0 > 0x20 }) { return text }
    }
  }
}
