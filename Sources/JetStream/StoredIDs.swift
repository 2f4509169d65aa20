public import NIOCore

/// What a stream holds under which ids, as it was read through before a lane began. What is in here need not be
/// asked of the server, and what is not is most likely not in the stream either: a lane tries that, and asks
/// only where the server finds it otherwise (`PublishLane+Screening`).
public struct StoredIDs: Sendable {
  /// What a message's headers say of its event: alike where it is the same event.
  public typealias Mark = UInt64
  /// They don't say it: the message has to be read.
  public static let unclear: Mark = 0
  /// It is no message of a bridge.
  public static let foreign: Mark = 1

  public struct Message: Sendable {
    public var sequence: UInt64
    /// From then on the server may have forgotten the id.
    public var expires: NIODeadline
    public var mark: Mark

    public init(sequence: UInt64, expires: NIODeadline, mark: Mark) {
      self.sequence = sequence
      self.expires = expires
      self.mark = mark
    }
  }

  /// Of ids as long as 1 KB there may be many. Two that meet here by chance are none in any number of streams.
  struct Key: Hashable {
    var first: Int
    var second: Int

    init(_ id: UnsafeRawBufferPointer) {
      var hasher = Hasher()
      hasher.combine(bytes: id)
      first = hasher.finalize()
      hasher = Hasher()
      hasher.combine(first)
      hasher.combine(bytes: id)
      second = hasher.finalize()
    }
  }
  private var messages: [Key: Message] = [:]

  /// - Parameter count: so many are expected.
  public init(capacity count: Int = 0) { messages.reserveCapacity(count) }

  public var count: Int { messages.count }

  /// Of two under one id, the later one counts.
  public mutating func add(_ id: UnsafeRawBufferPointer, _ message: Message) {
    messages[Key(id)] = message
  }

  func message(_ id: UnsafeRawBufferPointer) -> Message? { messages[Key(id)] }
}
