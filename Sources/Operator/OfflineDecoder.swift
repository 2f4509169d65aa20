import BSON
import Bridge
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
  /// Of events alone.
  private var mapper = Mapper(rules: [], sourceName: "")
  private var messages: MessageTexts?
  private var line = 0
  private var lastEvent: EventPosition?

  /// - Parameter maximumPayload: what the server would take, headers and body; its default is 1 MiB.
  public init(
    _ output: Output, disambiguatedPaths: Bool = false, maximumPayload: Int = 1 << 20
  ) {
    self.output = output
    decoder = OplogDecoder()
    decoder.disambiguatesPaths = disambiguatedPaths
    switch output {
    case .events: break
    case .messages(let configuration):
      decoder.disambiguatesPaths = disambiguatedPaths || configuration.rules.disambiguatePaths
      messages = MessageTexts(configuration, maximumPayload: maximumPayload)
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
      bytes = try ExtendedJSON.bson(text, as: .printed)
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
      try recorded.withEvent { try render($0, emit) }
    } catch let failure as Failure {
      throw failure
    } catch {
      throw Failure(line: line, reason: "no change event: \(error)")
    }
  }

  private func decode(entry bytes: UnsafeRawBufferPointer, _ emit: (String) -> Void)
    throws(Failure)
  {
    do {
      let view: BSONView
      do {
        view = try BSONView(bytes)
      } catch {
        throw OplogError(.corrupt(error))
      }
      _ = try decoder.begin(view)
      while let event = try decoder.next() { try render(event, emit) }
    } catch let failure as Failure {
      throw failure
    } catch {
      throw Failure(line: line, reason: "\(error)")
    }
  }

  private func render(_ event: ChangeEvent, _ emit: (String) -> Void) throws(Failure) {
    guard case .messages = output else {
      var text = ByteWriter(capacity: 1024)
      mapper.writeDeadLetterBody(event: event, into: &text)
      emit(String(decoding: text.bytes, as: UTF8.self))
      return
    }
    do throws(PipelineFailure) {
      try messages?.render(event, emit)
    } catch {
      throw Failure(line: line, reason: "the bridge halts: \(error)")
    }
  }
}

/// The messages of events, as texts.
private struct MessageTexts: ~Copyable {
  private var maker: MessageMaker
  private var sink: BufferSink
  private let rules: [String]

  init(_ configuration: BridgeConfiguration, maximumPayload: Int) {
    maker = MessageMaker(
      configuration,
      sourceName: configuration.source.name ?? configuration.source.uri.replicaSet ?? "rs0")
    sink = BufferSink(configuration, maximumPayload: maximumPayload)
    rules = configuration.rules.map(\.name)
  }

  mutating func render(
    _ event: ChangeEvent, _ emit: (String) -> Void
  ) throws(PipelineFailure) {
    var cursor = maker.begin(event)
    while !cursor.isDone {
      switch maker.step(event, &cursor, buffer: &sink) {
      case .sent, .deadLetter: emit(sink.json)
      case .halt(let halt): throw PipelineFailure(halt, event, rules: rules)
      case .dropped, .filtered, .invalid, .unmatched, .passed, .full: break
      }
    }
  }
}

extension BufferSink {
  /// `{"subject", "headers", "body"}`; the body is JSON already and is not changed.
  fileprivate var json: String {
    let members = HeaderLines.fields(String(decoding: headers, as: UTF8.self))
      .map { JSONValue.Member($0.name, .string($0.value)) }
    let subject = JSONValue.string(String(decoding: subject, as: UTF8.self)).text()
    let body = String(decoding: body, as: UTF8.self)
    return
      "{\"subject\":\(subject),\"headers\":\(JSONValue.object(members).text()),\"body\":\(body)}"
  }
}
