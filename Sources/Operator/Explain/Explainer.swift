public import Bridge
public import BridgeConfiguration
import JSON
import JetStream
public import Logging
public import Oplog

/// What `tailrace explain` is asked for.
public enum ExplainQuestion: Sendable {
  /// All events of an entry.
  case entry(OplogPosition)
  case event(EventPosition)
  case id(String)
  case document(WantedDocument)

  /// A position, else an id.
  public init(_ text: String) {
    if let position = EventPosition(text) {
      self = .event(position)
    } else if let position = OplogPosition(text) {
      self = .entry(position)
    } else {
      self = .id(text)
    }
  }

  var text: String {
    switch self {
    case .entry(let position): "\(position)"
    case .event(let position): "\(position)"
    case .id(let id): id
    case .document(let document): "\(document.namespace) \(document.id)"
    }
  }
}

/// Answers "where is my event?": `tailrace explain`. Changes nothing.
public struct Explainer: Sendable {
  let configuration: BridgeConfiguration
  let logger: Logger
  let note: @Sendable (String) -> Void
  /// How many of an entry's or a document's events are explained.
  let limit: Int
  /// The events themselves are asked for, not only their outcomes.
  var wantsTexts = true

  /// How long MongoDB may send nothing.
  static let patience = Duration.seconds(10)

  /// - Parameter note: what takes long.
  public init(
    _ configuration: BridgeConfiguration, limit: Int, logger: Logger,
    note: @escaping @Sendable (String) -> Void
  ) {
    self.configuration = configuration
    self.limit = limit
    self.logger = logger
    self.note = note
  }

  public func explain(_ question: ExplainQuestion) async throws(BridgeError) -> Explanation {
    // Without NATS there is the oplog's side.
    let failure: BridgeError
    do throws(BridgeError) {
      return try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
        do throws(JetStreamError) {
          return try await explain(question, try await StreamSide(configuration, jetStream))
        } catch {
          throw .unavailable("NATS: \(error)")
        }
      }
    } catch {
      failure = error
    }
    guard case .unavailable = failure, !Task.isCancelled else { throw failure }
    var explanation: Explanation
    do throws(JetStreamError) {
      explanation = try await explain(question, nil)
    } catch {
      throw failure
    }
    explanation.notes.append("\(failure): what the streams hold is not known")
    explanation.isUnavailable = true
    return explanation
  }

  private func explain(
    _ question: ExplainQuestion, _ streams: StreamSide?
  ) async throws(JetStreamError) -> Explanation {
    let oplog = OplogSide(
      configuration, logger: logger, limit: limit, wantsTexts: wantsTexts, note: note)
    let name = await oplog.sourceName()
    var streams = streams
    streams?.use(source: name)
    var inquiry = Inquiry(
      configuration: configuration, oplog: oplog, streams: streams, sourceName: name, limit: limit,
      note: note, explanation: Explanation(question.text))
    switch question {
    case .event(let position): try await inquiry.look(at: position...position)
    case .entry(let entry):
      try await inquiry.look(
        at: EventPosition(entry: entry, index: 0)...EventPosition(entry: entry, index: .max))
    case .id(let id): try await inquiry.look(forID: id)
    case .document(let document): try await inquiry.look(for: document)
    }
    return inquiry.explanation
  }
}

extension Explainer {
  /// So many of an entry's events are explained on a page …
  private static let mostOnPage = 5
  /// … and what is larger is left out of it.
  private static let mostBytesOnPage = 64 << 10

  /// Answers a running bridge's `/explain`.
  package static func forPages(logger: Logger) -> PositionExplainer {
    { (configuration, position, showsValues) async throws(BridgeError) -> JSONValue in
      var explainer = Explainer(configuration, limit: mostOnPage, logger: logger) { _ in }
      explainer.wantsTexts = showsValues
      var explanation = try await explainer.explain(ExplainQuestion(position))
      var view = ExplanationView()
      view.showsValues = showsValues
      view.mostBytes = mostBytesOnPage
      if !showsValues, !explanation.events.isEmpty {
        explanation.notes.append(
          "what documents say is shown only where http.token guards this answer, and by tailrace explain"
        )
      }
      return explanation.json(view)
    }
  }
}
