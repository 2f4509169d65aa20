public import Logging

/// Reads the documents that events of updates don't carry, on a thread and with a connection of its
/// own, many at a time. See `docs/images.md`.
///
/// All methods are thread-safe and, but for `stop`, don't block.
public final class ImageReader: Sendable {
  private let mailbox: ImageMailbox

  /// - Parameter bytesPerAnswer: an answer with more than this holds fewer images than asked for,
  ///   at least one.
  public init(
    options: MongoSourceOptions, logger: Logger, bytesPerAnswer: Int = 48 << 20
  ) {
    mailbox = ImageMailbox(options: options, logger: logger, bytesPerAnswer: bytesPerAnswer)
  }

  deinit { mailbox.requestStop() }

  /// Forgets all that was asked for.
  /// - Returns: the generation for what is asked from here on.
  @discardableResult
  public func restart() -> UInt64 { mailbox.restart() }

  /// Asks for images. Requests are answered one after the other, in order.
  ///
  /// Errors are overcome by trying again, without end, so only `restart` or `stop` can keep an
  /// answer from coming; `status` says what the matter is.
  ///
  /// - Parameters:
  ///   - generation: of the latest `restart` (0 before the first); otherwise nothing happens.
  ///   - onAnswer: called once, on the reader's thread, and not after the generation has ended
  ///     (but perhaps while it ends: `ImageAnswer.generation` tells). It must not block.
  /// - Returns: false where the system refuses a thread to read on: no answer comes, and the request
  ///   is to be submitted again a little later.
  @discardableResult
  public func submit(
    _ request: ImageRequest, generation: UInt64,
    onAnswer: @escaping @Sendable (ImageAnswer) -> Void
  ) -> Bool {
    mailbox.submit(request, generation: generation, onAnswer: onAnswer)
  }

  public var status: ImageStatus { mailbox.status }

  /// Ends reading and waits for the thread, at most two seconds. One stuck in a dead connection is
  /// left behind and ends with it. Nothing can be asked afterwards.
  public func stop() { mailbox.stop(waiting: .seconds(2)) }
}
