import BridgeConfiguration
import JetStream
package import Mapping

extension BridgeConfiguration {
  /// The limits of the rule's stream, or of the dead-letter stream (nil), by this configuration, without
  /// asking a server.
  ///
  /// - Parameter maximumPayload: the server's `max_payload`.
  package func limits(rule: Int?, maximumPayload: Int) -> MessageLimits {
    let stream: StreamSpec? =
      if let rule {
        rules[rule].streamIndex.map { streams[$0] }
      } else {
        streams.first { $0.name == deadLetter.stream }
      }
    return MessageLimits(
      maximumPayload: maximumPayload, maximumMessage: stream?.maximumMessage,
      maximumBytes: stream?.maximumBytes)
  }
}

extension StreamSpec {
  /// The stream's maximum total size; nil: no limit.
  var maximumBytes: Int? { settings.streamLimit("max_bytes") }

  /// The stream's maximum message size; nil: no limit.
  var maximumMessage: Int? { settings.streamLimit("max_msg_size") }
}
