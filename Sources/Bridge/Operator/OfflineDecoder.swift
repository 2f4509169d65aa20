import BSON
public import BridgeConfiguration
import JSON
import Mapping
import MongoSource
import Oplog

/// Oplog entries from a text (Extended JSON, one a line) to what the bridge would make of them,
/// without any server: `tailrace decode`.
///
/// A transaction's events come where it commits, as they do from a live oplog.
public final class OfflineDecoder {
  /// What comes out for each event.
  public enum Output: Sendable {
    /// The change event in canonical Extended JSON.
    case events
    /// The messages that the configuration's rules make of it, dead letters included.
    case messages(BridgeConfiguration)
  }

  /// An entry at which the bridge would halt, or a line that is no entry.
  public struct Failure: Error, Sendable, CustomStringConvertible {
    public var line: Int
    public var reason: String
    public var description: String { "line \(line): \(reason)" }
  }

  private let output: Output
  private var decoder: OplogDecoder
  private var mapper: Mapper
  private let judge: SchemaJudge?
  private var line = 0
  private var lastEvent: EventPosition?

  public init(_ output: Output, disambiguatedPaths: Bool = false) {
    self.output = output
    decoder = OplogDecoder()
    decoder.disambiguatesPaths = disambiguatedPaths
    switch output {
    case .events:
      mapper = Mapper(rules: [], sourceName: "")
      judge = nil
    case .messages(let configuration):
      judge = SchemaJudge(configuration)
      mapper = configuration.mapper(
        sourceName: configuration.source.name ?? configuration.source.uri.replicaSet ?? "rs0")
    }
  }

  /// Decodes the next line and hands out what it leads to, a JSON text each.
  public func decode(_ text: some StringProtocol, _ emit: (String) -> Void)
    throws(Failure)
  {
    line += 1
    if text.allSatisfy(\.isWhitespace) { return }
    let bytes: [UInt8]
    do {
      bytes = try ExtendedJSON.bson(text)
    } catch {
      throw Failure(line: line, reason: "no Extended JSON document: \(error)")
    }
    var result: Result<Void, Failure> = .success(())
    bytes.withUnsafeBytes { bytes in
      do throws(Failure) {
        try decode(entry: bytes, emit)
      } catch {
        result = .failure(error)
      }
    }
    try result.get()
  }

  /// Maps the next line, a change event as `events` prints it. Events of one cluster time are those of
  /// one transaction, in its order.
  public func map(event text: some StringProtocol, _ emit: (String) -> Void) throws(Failure) {
    line += 1
    if text.allSatisfy(\.isWhitespace) { return }
    do {
      var recorded = try RecordedEvent(text, index: 0)
      let time = recorded.position.entry
      recorded.position.index = time == lastEvent?.entry ? (lastEvent?.index ?? 0) + 1 : 0
      lastEvent = recorded.position
      try recorded.withEvent { render($0, emit) }
    } catch {
      throw Failure(line: line, reason: "no change event: \(error)")
    }
  }

  private func decode(entry bytes: UnsafeRawBufferPointer, _ emit: (String) -> Void)
    throws(Failure)
  {
    do throws(OplogError) {
      let view: BSONView
      do {
        view = try BSONView(bytes)
      } catch {
        throw OplogError(.corrupt(error))
      }
      _ = try decoder.begin(view)
      while let event = try decoder.next() { render(event, emit) }
    } catch {
      throw Failure(line: line, reason: error.description)
    }
  }

  private func render(_ event: ChangeEvent, _ emit: (String) -> Void) {
    guard case .messages(let configuration) = output else {
      var text = ByteWriter(capacity: 1024)
      mapper.writeDeadLetterBody(event: event, into: &text)
      emit(String(decoding: text.bytes, as: UTF8.self))
      return
    }
    var rule = mapper.firstMatch(event)
    var match = 0
    if rule == nil, configuration.unmatched == .deadLetter {
      let error = MappingError(.unmatched, "no rule takes this event")
      emit(deadLetter(event, rule: nil, match: 0, error, configuration))
    }
    while let index = rule {
      if let message = message(event, rule: index, match: match, configuration) { emit(message) }
      rule = mapper.nextMatch(event, after: index)
      match += 1
    }
  }

  private func message(
    _ event: ChangeEvent, rule: Int, match: Int, _ configuration: BridgeConfiguration
  ) -> String? {
    var subject = ByteWriter(capacity: 128)
    var headers = ByteWriter(capacity: 512)
    var body = ByteWriter(capacity: 1024)
    do {
      try mapper.writeSubject(rule: rule, event: event, into: &subject)
      try mapper.writeHeaders(rule: rule, event: event, match: match, into: &headers)
      try mapper.writeBody(rule: rule, event: event, match: match, into: &body)
      try judge?.check(rule: rule, event: event, body: body.bytes)
      return Self.json(subject, headers, body)
    } catch {
      if configuration.rules[rule].onInvalid == .drop { return nil }
      return deadLetter(event, rule: rule, match: match, error, configuration)
    }
  }

  private func deadLetter(
    _ event: ChangeEvent, rule: Int?, match: Int, _ error: MappingError,
    _ configuration: BridgeConfiguration
  ) -> String {
    var subject = ByteWriter(capacity: 128)
    var headers = ByteWriter(capacity: 512)
    var body = ByteWriter(capacity: 1024)
    mapper.writeDeadLetterSubject(
      configuration.deadLetter.subject, rule: rule, event: event, error: error, into: &subject)
    mapper.writeDeadLetterHeaders(
      rule: rule, event: event, match: match, error: error, into: &headers)
    mapper.writeDeadLetterBody(event: event, into: &body)
    return Self.json(subject, headers, body)
  }

  /// `{"subject", "headers", "body"}`; the body is JSON already and stands there as it is.
  private static func json(
    _ subject: borrowing ByteWriter, _ headers: borrowing ByteWriter, _ body: borrowing ByteWriter
  ) -> String {
    let members = HeaderLines.fields(String(decoding: headers.bytes, as: UTF8.self))
      .map { JSONValue.Member($0.name, .string($0.value)) }
    let subject = JSONValue.string(String(decoding: subject.bytes, as: UTF8.self)).text()
    let body = String(decoding: body.bytes, as: UTF8.self)
    return
      "{\"subject\":\(subject),\"headers\":\(JSONValue.object(members).text()),\"body\":\(body)}"
  }
}
