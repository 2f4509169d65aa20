import BridgeConfiguration
import Foundation
import JetStream
import Mapping
import Oplog

extension EpochSurvey {
  /// Why a first start at `now` may not be a first start: without a checkpoint, messages of a shared
  /// stream that name no bridge may be this one's, and events since then would never be published.
  func doubtOfFirstStart() async throws(JetStreamError) -> String? {
    let ownership = MessageOwnership(configuration)
    for rule in configuration.rules {
      guard let index = rule.streamIndex else { continue }
      let stream = configuration.streams[index]
      guard stream.ownership == .shared else { continue }
      for subject in configuration.subjectPatterns(of: rule) {
        guard let last = try await last(in: stream.name, subject),
          ownership.of(stream.name).owner(of: last) == .unnamed,
          last.own.rule == rule.name, mayBe(last, of: rule)
        else { continue }
        return """
          there is no checkpoint, and stream \(stream.name) holds messages of rule \(rule.name) that \
          name no bridge (sequence \(last.sequence), position \
          \(last.own.positionText ?? "unknown")), as older versions wrote them: whether this \
          bridge published them can't be told. Decide where to continue: \
          run --from <position>|oldest|now --force
          """
      }
    }
    return nil
  }

  /// Nil also if the stream has to be created.
  private func last(
    in stream: String, _ subject: String
  ) async throws(JetStreamError) -> StoredMessage? {
    do {
      return try await jetStream.lastMessage(in: stream, subject: subject)
    } catch {
      if error.code == JetStreamCode.streamNotFound { return nil }
      throw error
    }
  }

  /// False if the message comes from another source.
  private func mayBe(_ message: StoredMessage, of rule: Rule) -> Bool {
    // /mongodb/<source>/<database>, components of a URI, encoded once more for a header.
    guard let text = message.own.source else { return true }
    let parts = text.split(separator: "/").map {
      String($0).removingPercentEncoding?.removingPercentEncoding ?? String($0)
    }
    guard parts.count == 3 else { return true }
    return parts[1] == sourceName && (rule.namespace.literalDatabase ?? parts[2]) == parts[2]
  }
}
