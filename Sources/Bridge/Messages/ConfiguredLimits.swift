import BridgeConfiguration
import JetStream
package import Mapping

extension BridgeConfiguration {
  /// What the rule's stream, or that of dead letters (nil), would take by this configuration, without
  /// asking a server.
  ///
  /// - Parameter maximumPayload: the server's `max_payload`.
  package func limits(rule: Int?, maximumPayload: Int) -> MessageLimits {
    let stream =
      rule.map { streams[rules[$0].streamIndex] }
      ?? streams.first { $0.name == deadLetter.stream }
    return MessageLimits(
      maximumPayload: maximumPayload, maximumMessage: stream?.maximumMessage,
      maximumBytes: stream?.maximumBytes)
  }
}

extension StreamSpec {
  /// What the stream may hold altogether; nil where that has no limit.
  var maximumBytes: Int? { settings.streamLimit("max_bytes") }

  /// The largest message by the stream's own settings; nil where they set none.
  var maximumMessage: Int? { settings.streamLimit("max_msg_size") }
}
