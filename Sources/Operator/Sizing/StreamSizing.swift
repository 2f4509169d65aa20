/// What a load takes of JetStream: storage, memory, network, and how many streams. Pure arithmetic, from what servers
/// were measured to take (docs/scale.md).
package struct StreamSizing: Sendable, Equatable {
  /// Messages a second over a day, and at the busiest moment.
  package var rate: Double
  package var peak: Double
  /// Bytes of a message's body, its header lines with the version line and the empty one, and its subject.
  package var body: Int
  package var headers: Int
  package var subject: Int
  /// Bytes of the id in `Nats-Msg-Id`; part of `headers`.
  package var id: Int
  /// How long messages are kept, in seconds.
  package var retention: Double
  /// Messages are kept in memory, not in files.
  package var isInMemory = false
  package var replicas: Int
  /// In seconds.
  package var duplicateWindow: Double
  /// Subjects that the stream holds messages of.
  package var subjects: Int
  /// Consumers, each of which is delivered every message.
  package var consumers: Int
  /// Messages a second that one stream takes on the servers at hand: `make bench BENCH_ARGS=--protocols`.
  package var streamRate: Double

  package init(
    rate: Double, peak: Double? = nil, body: Int, headers: Int = Self.usualHeaders,
    subject: Int = 40, id: Int = 30, retention: Double, replicas: Int = 3,
    duplicateWindow: Double = 120, subjects: Int = 100_000, consumers: Int = 4,
    streamRate: Double = 20_000
  ) {
    self.rate = rate
    self.peak = peak ?? 3 * rate
    self.body = body
    self.headers = headers
    self.subject = subject
    self.id = id
    self.retention = retention
    self.replicas = replicas
    self.duplicateWindow = duplicateWindow
    self.subjects = subjects
    self.consumers = consumers
    self.streamRate = streamRate
  }

  /// What the bridge's own headers take with `envelope: document` and usual names.
  package static let usualHeaders = 210

  // MARK: - Storage

  /// What a stored message takes of `max_bytes`, and of the disk: in a file, a record's head (22 bytes), the length of
  /// the headers (4, if there are any) and a checksum (8); in memory, a sequence and a time (16). nats-server 2.9 to
  /// 2.15.
  package var storedSize: Int {
    let record = isInMemory ? 16 : 30 + (headers > 0 ? 4 : 0)
    return record + subject + headers + body
  }

  package var messages: Double { rate * retention }

  /// On each server that has a replica; the value for `max_bytes`, without reserve.
  package var bytesPerReplica: Double { messages * Double(storedSize) }

  package var bytesOfAll: Double { bytesPerReplica * Double(replicas) }

  // MARK: - Memory

  /// Of the index of subjects, on each replica.
  package var subjectMemory: Double { Double(subjects) * Double(200 + subject) }

  /// Of the ids that servers remember, on each replica.
  package var idMemory: Double {
    id > 0 ? peak * duplicateWindow * Double(130 + 2 * id) : 0
  }

  /// Go's collector lets a heap double before it cleans up; and a server has its buffers and caches.
  package var memoryPerReplica: Double {
    2 * (subjectMemory + idMemory + (isInMemory ? bytesPerReplica : 0)) + 64 * 1024 * 1024
  }

  // MARK: - Network

  /// What a published message takes on the wire: `HPUB subject reply sizes`.
  package var wireSize: Int { 5 + subject + 60 + headers + body + 4 }

  /// Bytes a second at the peak: into the stream's leader, from it to its followers, and to consumers.
  package var inbound: Double { peak * Double(wireSize) }
  package var replication: Double { peak * Double(storedSize) * Double(replicas - 1) }
  package var outbound: Double { peak * Double(wireSize) * Double(consumers) }

  // MARK: - Streams

  /// With a third in reserve, for a failed server's share and for catching up.
  package var streams: Int { max(1, Int((peak / (streamRate * 2 / 3)).rounded(.up))) }
}
