/// What an ack did.
public struct LaneProgress: Equatable, Sendable {
  /// Messages at the head that are now known to be stored.
  public var acked: Int
  /// How many of those the server had already.
  public var duplicates: Int
  /// Of the acknowledged ones, counted from 0, the last that this lane has stored; nil where the stream
  /// had all of them.
  public var lastStored: Int?
  /// Where that one stands.
  public var sequence: UInt64 = 0
  /// For each acknowledged message whether the stream had it already. Empty: the first `duplicates` did.
  public var wereStored: [Bool] = []
  /// The highest sequence of a message that the stream had already, as far as the server has told it.
  public var originals: UInt64 = 0
  /// Nothing is settled yet, but the server is at work: the lane may have more to send, or room.
  public var moved = false
  /// Ids that the stream holds for other events. Nothing of these messages, or of those in flight with
  /// them, has been published.
  public var conflicts: [Conflict] = []

  /// A message whose id belongs to another event.
  public struct Conflict: Equatable, Sendable {
    /// Its place among the messages in flight, from 0.
    public var offset: Int
    public var id: [UInt8]
    public var detail: String

    public init(offset: Int, id: [UInt8], detail: String) {
      self.offset = offset
      self.id = id
      self.detail = detail
    }
  }

  public init(acked: Int, duplicates: Int, lastStored: Int? = nil, sequence: UInt64 = 0) {
    self.acked = acked
    self.duplicates = duplicates
    self.lastStored = lastStored
    self.sequence = sequence
  }

  static var moved: LaneProgress {
    var progress = LaneProgress(acked: 0, duplicates: 0)
    progress.moved = true
    return progress
  }
}
