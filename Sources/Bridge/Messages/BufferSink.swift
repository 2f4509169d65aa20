package import BSON
package import BridgeConfiguration
package import Mapping
package import Oplog

/// Keeps the last message in memory: a dry run counts it, verification computes its digest, `decode` prints
/// it, replay publishes it as a single request.
package struct BufferSink: MessageSink, ~Copyable {
  package var output = ByteWriter(capacity: 8192)
  package private(set) var limits: MessageLimits
  /// Rules whose messages are not made; empty: none.
  package var leftOut: [Bool] = []
  private let limitsOfRules: [MessageLimits]
  private let limitsOfLetters: MessageLimits
  private var headersStart = 0
  private var bodyStart = 0

  /// Memory that is kept for the next message.
  private static let keptBytes = 8 << 20

  package init(rules: [MessageLimits], letters: MessageLimits) {
    limitsOfRules = rules
    limitsOfLetters = letters
    limits = letters
  }

  /// The limits that the configuration sets, without asking a server.
  ///
  /// - Parameter maximumPayload: the server's `max_payload`.
  package init(_ configuration: BridgeConfiguration, maximumPayload: Int) {
    self.init(
      rules: configuration.rules.indices.map {
        configuration.limits(rule: $0, maximumPayload: maximumPayload)
      }, letters: configuration.limits(rule: nil, maximumPayload: maximumPayload))
  }

  package func leavesOut(rule: Int) -> Bool { !leftOut.isEmpty && leftOut[rule] }

  package mutating func begin(_ message: PlannedMessage) {
    output.removeAll()
    output.shrink(to: Self.keptBytes)
    limits =
      if !message.isLetter, let rule = message.rule { limitsOfRules[rule] } else { limitsOfLetters }
  }

  package mutating func beginHeaders() { headersStart = output.count }
  package mutating func beginBody() { bodyStart = output.count }

  package var size: Int { MessageLimits.frame + output.count - headersStart }

  package mutating func commit(_ message: PlannedMessage, of event: borrowing ChangeEvent) {}
  package mutating func cancel() { output.removeAll() }

  // MARK: - The last message; valid until the next one begins

  package var subject: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: output.bytes[..<headersStart])
  }

  /// Lines, each with its end; neither the block's first nor its last line.
  package var headers: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: output.bytes[headersStart..<bodyStart])
  }

  package var body: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: output.bytes[bodyStart...])
  }
}

/// The maker, specialised for this sink: other modules would get the generic code, which is several times
/// slower.
extension MessageMaker {
  package mutating func step(
    _ event: borrowing ChangeEvent, _ cursor: inout MatchCursor, buffer: inout BufferSink
  ) -> Step {
    step(event, &cursor, into: &buffer)
  }

  package mutating func make(
    _ event: borrowing ChangeEvent, rule: Int, match: Int, buffer: inout BufferSink
  ) throws(MappingError) {
    try make(event, rule: rule, match: match, into: &buffer)
  }
}
