/// What a server says, and where. Whether and when it arrives, the caller decides.
public struct Output: Sendable, Equatable {
  public var to: ReplyTo
  public var answer: Answer
}

/// Where an answer is expected: by the connection that asked, on a subject. Empty: nowhere.
public struct ReplyTo: Sendable, Equatable {
  public var connection: Int
  public var subject: String

  public init(connection: Int = 0, subject: String) {
    self.connection = connection
    self.subject = subject
  }
}

/// A message on its way to a stream.
public struct Publication: Sendable, Equatable {
  public var subject: String
  public var reply: ReplyTo
  /// The whole block, with its version line; empty where there is none.
  public var headers: [UInt8]
  public var payload: [UInt8]
  /// Who sent it, as far as the caller says so: `StoredMessage.origin`.
  public var origin = 0

  public init(_ subject: String, reply: ReplyTo, headers: [UInt8] = [], payload: [UInt8] = []) {
    self.subject = subject
    self.reply = reply
    self.headers = headers
    self.payload = payload
  }
}

public enum Answer: Sendable, Equatable {
  // To publishers.
  case stored(stream: String, sequence: UInt64, batch: BatchCount?)
  /// Stored before, at that sequence.
  case duplicate(stream: String, sequence: UInt64, batch: BatchCount?)
  case refused(stream: String, Refusal)
  /// An atomic batch's message is kept until the batch ends.
  case receipt
  /// Fast ingest: stored up to this message of the batch; the next such answer comes `every` messages later.
  case flow(sequence: UInt64, every: Int)
  case gap(expected: UInt64, current: UInt64)
  case batchRefused(sequence: UInt64, Refusal)
  /// Nobody takes the subject.
  case noResponders
  // To requests.
  case failed(APIOperation, Refusal)
  indirect case stream(APIOperation, StreamState)
  /// A cluster has the stream that was to be created.
  indirect case streamExists(StreamState)
  case streamDeleted
  case purged(Int)
  case messageDeleted
  indirect case message(StoredMessage)
  case names([String])
  indirect case consumer(APIOperation, ConsumerState)
  case consumerDeleted
  case consumerNames([String])
  indirect case account(AccountState)
  // To pull requests.
  indirect case delivered(Delivery)
  case pullEnded(PullEnd)
  /// A direct get's message, …
  indirect case direct(stream: String, StoredMessage)
  /// … or why there is none.
  case directFailed(status: Int, String)

  /// A batch and how many of its messages the answer speaks of.
  public struct BatchCount: Sendable, Equatable {
    public var id: String
    public var count: UInt64

    public init(id: String, count: UInt64) {
      self.id = id
      self.count = count
    }
  }
}

public enum APIOperation: String, Sendable {
  case create = "stream_create"
  case update = "stream_update"
  case info = "stream_info"
  case delete = "stream_delete"
  case purge = "stream_purge"
  case getMessage = "stream_msg_get"
  case deleteMessage = "stream_msg_delete"
  case names = "stream_names"
  case consumerCreate = "consumer_create"
  case consumerInfo = "consumer_info"
  case consumerDelete = "consumer_delete"
  case consumerNames = "consumer_names"
  case account = "account_info"
}

/// STREAM.INFO as a value.
public struct StreamState: Sendable, Equatable {
  public var configuration: StreamConfiguration
  public var created: Int64
  /// When the server was asked.
  public var asked: Int64
  /// The name of the server that leads the stream.
  public var leader: String
  public var messages: Int
  public var bytes: Int64
  public var firstSequence: UInt64
  public var lastSequence: UInt64
  /// When the first message was stored that is there; nil where there is none.
  public var firstTime: Int64?
  /// When the last message was stored, there or not; nil where there never was one.
  public var lastTime: Int64?
  public var subjectCount: Int
  public var deletedCount: Int
  public var consumers: Int
  /// Messages of the subjects that were asked for.
  public var subjects: [String: Int] = [:]
}
