import BSON
import BridgeConfiguration
import Mapping
import Oplog
import Parity

/// Makes of an event whose documents are gone the message, or the dead letter, that a rule made of it with
/// them, as far as it is not of them: what was published is compared with that, whatever is derived now.
/// Owned by one event loop.
final class MessageAlternatives {
  private let configuration: BridgeConfiguration
  private let limits: [MessageLimits]
  private let deadLetterStream: Int
  private let exactMaker: MessageMaker
  private let maker: MessageMaker
  /// For updates whose document is gone.
  private let openMaker: MessageMaker

  init(_ configuration: BridgeConfiguration, sourceName: String, limits: [MessageLimits]) {
    self.configuration = configuration
    self.limits = limits
    deadLetterStream = configuration.indexOfDeadLetterStream
    exactMaker = MessageMaker(
      configuration.ruleSet(sourceName: sourceName), qualifiesLetterIDs: false)
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
    maker = MessageMaker(lenient.ruleSet(sourceName: sourceName), qualifiesLetterIDs: false)
    for index in lenient.rules.indices {
      let rule = lenient.rules[index]
      lenient.rules[index].subject =
        rule.subject.leavingOpen(.fullDocument, mark: OpenText.mark)
      if case .template(let id) = rule.id {
        lenient.rules[index].id = .template(id.leavingOpen(.fullDocument, mark: OpenText.mark))
      }
    }
    openMaker = MessageMaker(lenient.ruleSet(sourceName: sourceName), qualifiesLetterIDs: false)
  }

  /// Nil where the rule makes no message of the event, whatever its documents are, or where all of it is
  /// of them.
  func message(
    _ event: ChangeEvent, rule index: Int, match: Int, lacking: Mapper.WantedImages
  ) -> ExpectedBytes? {
    let rule = configuration.rules[index]
    guard rule.outbox == nil else { return nil }
    let maker = lacking.contains(.after) ? openMaker : maker
    let event = event.without(lacking)
    do throws(MappingError) {
      if rule.envelope == .document, lacking.contains(.after) {
        try maker.writeHead(event, rule: index, match: match)
      } else {
        try maker.write(event, rule: index, match: match, limits: .none)
      }
    } catch {
      return nil
    }
    return maker.written
  }

  /// - Parameter rule: nil for the letter of an event that no rule takes.
  func letter(
    _ event: ChangeEvent, rule: Int?, match: Int, lacking: Mapper.WantedImages
  ) -> ExpectedBytes {
    let maker = lacking.contains(.after) ? openMaker : maker
    maker.writeDeadLetter(
      event.without(lacking), rule: rule, match: match,
      error: MappingError(rule == nil ? .unmatched : .imageMissing, ""),
      limits: limits[deadLetterStream])
    return maker.written
  }

  func identity(_ event: ChangeEvent, rule: Int, match: Int) -> String {
    exactMaker.identity(event, rule: rule, match: match)
  }

  // MARK: Other limits

  /// What the rule makes of the event where messages may be as large as the bridge can send them; nil where
  /// it makes none even then.
  func unlimited(_ event: ChangeEvent, rule: Int, match: Int) -> ExpectedBytes? {
    do throws(MappingError) {
      try exactMaker.write(event, rule: rule, match: match, limits: .none)
    } catch {
      return nil
    }
    return exactMaker.written
  }

  func letter(
    _ event: ChangeEvent, rule: Int, match: Int, error: MappingError
  ) -> ExpectedBytes {
    exactMaker.writeDeadLetter(
      event, rule: rule, match: match, error: error, limits: limits[deadLetterStream])
    return exactMaker.written
  }
}

extension MessageLimits {
  /// What the bridge itself sends at most.
  static let none = MessageLimits(maximumPayload: .max)
}

extension MessageMaker {
  /// A copy of what was written last.
  var written: ExpectedBytes {
    ExpectedBytes(
      subject: String(decoding: subject.bytes, as: UTF8.self),
      headers: String(decoding: headers.bytes, as: UTF8.self), body: Array(body.bytes))
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
