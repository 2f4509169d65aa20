public import Logging

/// Reads the documents that update events don't carry, in batches, on its own thread and connection.
/// See `docs/images.md`.
///
/// All methods are thread-safe; only `stop` blocks.
public final class ImageReader: Sendable {
  private let mailbox: ImageMailbox

  /// - Parameter bytesPerAnswer: an answer that would exceed this holds fewer images than requested, at
  ///   least one.
  public init(
    options: MongoSourceOptions, logger: Logger, bytesPerAnswer: Int = 48 << 20
  ) {
    mailbox = ImageMailbox(options: options, logger: logger, bytesPerAnswer: bytesPerAnswer)
  }

  deinit { mailbox.requestStop() }

  /// Discards all requests.
  /// - Returns: the generation for the requests that follow.
  @discardableResult
  public func restart() -> UInt64 { mailbox.restart() }

  /// Requests images. Requests are answered one at a time, in order.
  ///
  /// Errors are retried without limit, so every request is answered unless `restart` or `stop` is called;
  /// `status` shows the error.
  ///
  /// - Parameters:
  ///   - generation: returned by the latest `restart` (0 before the first); otherwise the request is
  ///     ignored.
  ///   - onAnswer: called once, on the reader's thread, unless the generation has ended. It may be called
  ///     while the generation ends: compare `ImageAnswer.generation`. It must not block.
  /// - Returns: false if the generation has ended or the system refuses a thread: then no answer follows,
  ///   and the request must be submitted again later.
  @discardableResult
  public func submit(
    _ request: ImageRequest, generation: UInt64,
    onAnswer: @escaping @Sendable (ImageAnswer) -> Void
  ) -> Bool {
    mailbox.submit(request, generation: generation, onAnswer: onAnswer)
  }

  public var status: ImageStatus { mailbox.status }

  /// Stops reading and waits for the thread, at most two seconds. A thread blocked in a dead connection
  /// is abandoned and ends when the connection times out. No requests afterwards.
  public func stop() { mailbox.stop(waiting: .seconds(2)) }
}
