import JSON
package import JetStream
package import Logging
import NATS
package import Oplog

/// Writes a bridge's marks on streams.
package protocol StreamMarking: Sendable {
  /// Writes the mark, unless the stream's own already covers it.
  mutating func set(_ mark: StreamMark, on stream: String, _ occasion: StreamMark.Occasion) async
  /// Writes that a stream without a message lacks none from before `resume`.
  mutating func renew(_ stream: String, at resume: OplogPosition, isNews: Bool) async
}

/// Keeps, in each stream's metadata, whether it has held messages of this bridge (`StreamMark`), so that
/// a new stream can be distinguished from one that lost everything, even if the checkpoint is lost, too.
/// Servers before 2.10 have no metadata.
package struct StreamMarks: StreamMarking {
  package let bridge: String
  package let jetStream: JetStreamClient
  let isSupported: Bool
  package let logger: Logger
  package private(set) var known: [String: StreamMark]
  /// Whether it is the first time that the stream can't be marked, which is reported once.
  private let isFirst: @Sendable (String) -> Bool
  /// Whether this instance may change anything: metadata know no compare-and-set.
  private let mayWrite: @Sendable () -> Bool

  package init(
    bridge: String, _ jetStream: JetStreamClient, isSupported: Bool, logger: Logger,
    known: [String: StreamMark], isFirst: @escaping @Sendable (String) -> Bool,
    mayWrite: @escaping @Sendable () -> Bool = { true }
  ) {
    self.isFirst = isFirst
    self.mayWrite = mayWrite
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

  /// Writes the mark, unless the stream's own already covers it. Evidence for the worst case is not worth an
  /// outage: a mark that can't be written is reported and left out.
  package mutating func set(_ mark: StreamMark, on stream: String, _ occasion: StreamMark.Occasion)
    async
  {
    guard isSupported, let mark = mark.replacing(known[stream], occasion) else { return }
    known[stream] = mark
    let metadata: JSONValue = ["metadata": [Self.key(bridge): .string(mark.description)]]
    do {
      guard let present = try await jetStream.stream(stream) else { return }
      let (merged, changed) = present.config.merging(metadata)
      guard !changed.isEmpty, mayWrite() else { return }
      _ = try await jetStream.request("STREAM.UPDATE.\(stream)", merged)
    } catch {
      guard isFirst(stream) else { return }
      logger.warning(
        "the stream's metadata can't be written; should the checkpoint be lost, what the stream lacks can't be determined",
        metadata: ["stream": "\(stream)", "error": "\(error)"])
    }
  }

  /// Writes that a stream without a message lacks none from before `resume`: from time to time, and when that
  /// is new.
  package mutating func renew(_ stream: String, at resume: OplogPosition, isNews: Bool) async {
    guard isNews || known[stream]?.isStale(at: resume) ?? false else { return }
    await set(
      .unused(Checkpoint.Origin(position: resume, inclusive: true)), on: stream, .settled)
  }
}
