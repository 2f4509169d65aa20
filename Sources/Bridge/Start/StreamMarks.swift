import JSON
package import JetStream
package import Logging
import NATS
import Oplog

/// Keeps, in each stream's metadata, whether it has held messages of this bridge (`StreamMark`), so that
/// an empty stream can be told from one that lost everything when the checkpoint is lost as well.
/// Servers before 2.10 have no metadata.
package struct StreamMarks: Sendable {
  package let bridge: String
  package let jetStream: JetStreamClient
  let isSupported: Bool
  package let logger: Logger
  package private(set) var known: [String: StreamMark]
  /// Whether a stream is the first time one that can't be marked: said once.
  private let isFirst: @Sendable (String) -> Bool

  package init(
    bridge: String, _ jetStream: JetStreamClient, isSupported: Bool, logger: Logger,
    known: [String: StreamMark], isFirst: @escaping @Sendable (String) -> Bool
  ) {
    self.isFirst = isFirst
    self.bridge = bridge
    self.jetStream = jetStream
    self.isSupported = isSupported
    self.logger = logger
    self.known = known
  }

  static let firstServer = NATSVersion(2, 10, 0)

  package static func key(_ bridge: String) -> String { "tailrace.holds.\(bridge)" }

  package static func mark(of bridge: String, in info: StreamInfo) -> StreamMark? {
    info.config["metadata"]?[key(bridge)]?.stringValue.flatMap { StreamMark($0) }
  }

  /// Writes the mark, unless the stream has one that says as much. Evidence for the worst case is not
  /// worth an outage: what can't be written is left out, and said so.
  package mutating func set(_ mark: StreamMark, on stream: String, _ occasion: StreamMark.Occasion)
    async
  {
    guard isSupported, let mark = mark.replacing(known[stream], occasion) else { return }
    known[stream] = mark
    let metadata: JSONValue = ["metadata": [Self.key(bridge): .string(mark.description)]]
    do {
      guard let present = try await jetStream.stream(stream) else { return }
      let (merged, changed) = present.config.merging(metadata)
      guard !changed.isEmpty else { return }
      _ = try await jetStream.request("STREAM.UPDATE.\(stream)", merged)
    } catch {
      guard isFirst(stream) else { return }
      logger.warning(
        "the stream's metadata can't be written; should the checkpoint be lost, it can't be told what the stream lacks",
        metadata: ["stream": "\(stream)", "error": "\(error)"])
    }
  }

  /// Writes that a stream without a message lacks none from before `resume`: now and then, and when that
  /// is news.
  mutating func renew(_ stream: String, at resume: OplogPosition, isNews: Bool) async {
    guard isNews || known[stream]?.isStale(at: resume) ?? false else { return }
    await set(
      .unused(Checkpoint.Origin(position: resume, inclusive: true)), on: stream, .settled)
  }
}
