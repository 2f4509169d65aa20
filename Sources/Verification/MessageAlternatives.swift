import BSON
import Bridge
import BridgeConfiguration
import Mapping
import Oplog
import Parity

/// Makes of an event whose documents are gone the message, or the dead letter, that a rule made of it with
/// them, as far as it is not of them: what was published is compared with that, whatever is derived now.
/// Owned by one event loop.
final class MessageAlternatives {
  private let configuration: BridgeConfiguration
  private var exactMaker: MessageMaker
  private var maker: MessageMaker
  /// For updates whose document is gone.
  private var openMaker: MessageMaker
  /// As large as the bridge can send them; dead letters as their stream takes them.
  private var sink: BufferSink

  init(_ configuration: BridgeConfiguration, sourceName: String, limits: [MessageLimits]) {
    self.configuration = configuration
    sink = BufferSink(
      rules: configuration.rules.map { _ in .none },
      letters: limits[configuration.indexOfDeadLetterStream])
    exactMaker = MessageMaker(configuration, sourceName: sourceName)
    exactMaker.qualifiesLetterIDs = false
    var lenient = configuration
    for index in lenient.rules.indices {
      if lenient.rules[index].fullDocument == .required {
        lenient.rules[index].fullDocument = .whenAvailable
      }
      if lenient.rules[index].fullDocumentBeforeChange == .required {
        lenient.rules[index].fullDocumentBeforeChange = .whenAvailable
      }
      lenient.schemas[index] = nil
    }
    lenient.deadLetter.subject = lenient.deadLetter.subject.leavingErrorOpen(mark: OpenText.mark)
    maker = MessageMaker(lenient, sourceName: sourceName)
    maker.qualifiesLetterIDs = false
    for index in lenient.rules.indices {
      let rule = lenient.rules[index]
      lenient.rules[index].subject =
        rule.subject.leavingOpen(.fullDocument, mark: OpenText.mark)
      if case .template(let id) = rule.id {
        lenient.rules[index].id = .template(id.leavingOpen(.fullDocument, mark: OpenText.mark))
      }
    }
    openMaker = MessageMaker(lenient, sourceName: sourceName)
    openMaker.qualifiesLetterIDs = false
  }

  /// Nil where the rule makes no message of the event, whatever its documents are, or where all of it is
  /// of them.
  func message(
    _ event: ChangeEvent, rule index: Int, match: Int, lacking: Mapper.WantedImages
  ) -> ExpectedBytes? {
    let rule = configuration.rules[index]
    guard rule.outbox == nil else { return nil }
    let event = event.without(lacking)
    let isHeadAlone = rule.envelope == .document && lacking.contains(.after)
    do throws(MappingError) {
      if isHeadAlone {
        try openMaker.makeHead(event, rule: index, match: match, into: &sink)
      } else if lacking.contains(.after) {
        try openMaker.make(event, rule: index, match: match, into: &sink)
      } else {
        try maker.make(event, rule: index, match: match, buffer: &sink)
      }
    } catch {
      return nil
    }
    return sink.written
  }

  /// - Parameter rule: nil for the letter of an event that no rule takes.
  func letter(
    _ event: ChangeEvent, rule: Int?, match: Int, lacking: Mapper.WantedImages
  ) -> ExpectedBytes {
    let event = event.without(lacking)
    let error = MappingError(rule == nil ? .unmatched : .imageMissing, "")
    if lacking.contains(.after) {
      openMaker.makeLetter(event, rule: rule, match: match, error: error, into: &sink)
    } else {
      maker.makeLetter(event, rule: rule, match: match, error: error, into: &sink)
    }
    return sink.written
  }

  func identity(_ event: ChangeEvent, rule: Int, match: Int) -> String {
    exactMaker.identity(event, rule: rule, match: match)
  }

  // MARK: Other limits

  /// What the rule makes of the event where messages may be as large as the bridge can send them; nil where
  /// it makes none even then.
  func unlimited(_ event: ChangeEvent, rule: Int, match: Int) -> ExpectedBytes? {
    do throws(MappingError) {
      try exactMaker.make(event, rule: rule, match: match, into: &sink)
    } catch {
      return nil
    }
    return sink.written
  }

  func letter(
    _ event: ChangeEvent, rule: Int, match: Int, error: MappingError
  ) -> ExpectedBytes {
    exactMaker.makeLetter(event, rule: rule, match: match, error: error, into: &sink)
    return sink.written
  }
}

extension MessageLimits {
  /// What the bridge itself sends at most.
  static let none = MessageLimits(maximumPayload: .max)
}

extension BufferSink {
  /// A copy of the last message.
  var written: ExpectedBytes {
    ExpectedBytes(
      subject: String(decoding: subject, as: UTF8.self),
      headers: String(decoding: headers, as: UTF8.self), body: Array(body))
  }
}

extension BridgeConfiguration {
  /// Among the streams, or behind them.
  var indexOfDeadLetterStream: Int {
    streams.firstIndex { $0.name == deadLetter.stream } ?? streams.count
  }
}

extension ChangeEvent {
  fileprivate func without(_ images: Mapper.WantedImages) -> ChangeEvent {
    var event = self
    if images.contains(.after) {
      event.fullDocument = nil
      if event.image != nil { event.image = ImageKind.none }
    }
    if images.contains(.before) { event.fullDocumentBeforeChange = nil }
    return event
  }
}

extension ExpectedBytes {
  var digests: PartDigests {
    PartDigests(
      subject: Array(subject.utf8).withUnsafeBytes { MessageDigest($0) },
      headers: Array(headers.utf8).withUnsafeBytes { MessageDigest($0) },
      body: body.withUnsafeBytes { MessageDigest($0) })
  }
}
