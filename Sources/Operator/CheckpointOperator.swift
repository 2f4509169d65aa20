public import Bridge
public import BridgeConfiguration
import JSON
import JetStream
public import Logging
import MongoSource
public import Oplog

/// The stored checkpoint in an operator's hands: `tailrace checkpoint show|set|export`.
public struct CheckpointOperator: Sendable {
  private let configuration: BridgeConfiguration
  private let logger: Logger

  public init(_ configuration: BridgeConfiguration, logger: Logger) {
    self.configuration = configuration
    self.logger = logger
  }

  /// What is stored; nil where nothing is.
  public func show() async throws(BridgeError) -> Checkpoint? {
    try await withStore { store throws(BridgeError) in
      try await isCreated(store) ? try await load(store).checkpoint : nil
    }
  }

  /// Makes the entry at `position`, or the first one behind it, the resume position. The oplog must
  /// reach back to there.
  ///
  /// What the streams hold is not sent again: going back fills in only what is missing behind each
  /// stream's last message. Going forward leaves out what lies between. A bridge that runs notices
  /// that its checkpoint was replaced, and stops.
  public func set(_ mark: OplogPosition) async throws(BridgeError) -> Checkpoint {
    let place: MongoAdmin.MarkPlace
    let name: String
    do {
      place = try await MongoAdmin.place(configuration.mongoSourceOptions, of: mark)
      if let given = configuration.source.name {
        name = given
      } else {
        name = try await MongoAdmin.identify(configuration.mongoSourceOptions).setName
      }
    } catch {
      throw .unavailable(MongoError.words(of: error))
    }
    let point: ResumePoint
    switch place {
    case .entry(let entry): point = entry
    case .ahead(let newest):
      throw .positionLost("no majority has \(mark) yet: the newest entry is \(newest.position)")
    case .lost(let oldest):
      throw .positionLost("the oplog no longer holds \(mark): it begins with \(oldest.position)")
    }
    let position = point.position
    return try await withStore { store throws(BridgeError) in
      if try await !isCreated(store) { try await create(store) }
      let (stored, revision) = try await load(store)
      var next =
        stored
        ?? Checkpoint(
          bridge: configuration.bridge.name, source: name, instance: "", version: 0,
          resume: position, term: point.term,
          origin: Checkpoint.Origin(position: position, inclusive: true), streams: [:],
          configurationHash: configuration.hash(sourceName: name))
      if stored == nil, let origin = try await origin(store.bucket.jetStream),
        origin < next.origin
      {
        next.origin = origin
        next.foundAgainAt = position
      }
      guard next.source == name else {
        throw .configuration(
          "the checkpoint belongs to source \(next.source), and the configuration reads \(name)")
      }
      next.resume = position
      next.term = point.term
      // Streams may lack what lies behind it: their ends tell.
      next.settled = nil
      // Somebody who sets a position wants to tail from it.
      if next.snapshot?.isOver == false { next.snapshot = nil }
      if position < next.origin.position {
        next.origin = Checkpoint.Origin(position: position, inclusive: true)
      }
      next.instance = "operator"
      next.version &+= 1
      do {
        _ = try await store.save(next, expecting: revision)
      } catch {
        throw .unavailable("the checkpoint was not written: \(error)")
      }
      return next
    }
  }

  /// Where the bridge began, by what the streams' marks say; nil where none does.
  private func origin(
    _ jetStream: JetStreamClient
  ) async throws(BridgeError) -> Checkpoint.Origin? {
    do {
      return try await StreamMarks.origin(of: configuration, jetStream)
    } catch {
      throw .unavailable("\(error)")
    }
  }

  private func load(_ store: CheckpointStore) async throws(BridgeError)
    -> (checkpoint: Checkpoint?, revision: UInt64)
  {
    do {
      return try await store.load()
    } catch let error as CheckpointError {
      throw .positionLost("\(error) (key \(store.key) of bucket \(store.bucket.name))")
    } catch {
      throw .unavailable("\(error)")
    }
  }

  private func withStore<T: Sendable>(
    _ body: (CheckpointStore) async throws(BridgeError) -> T
  ) async throws(BridgeError) -> T {
    try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
      try await body(
        CheckpointStore(
          jetStream, bucket: configuration.bridge.stateBucket, bridge: configuration.bridge.name))
    }
  }

  private func isCreated(_ store: CheckpointStore) async throws(BridgeError) -> Bool {
    do {
      return try await store.bucket.exists
    } catch {
      throw .unavailable("\(error)")
    }
  }

  private func create(_ store: CheckpointStore) async throws(BridgeError) {
    let replicas = configuration.streams.compactMap {
      $0.settings["num_replicas"]?.integer(Int.self)
    }
    do {
      try await store.bucket.ensure(replicas: replicas.max() ?? 1)
    } catch {
      throw .unavailable("\(error)")
    }
  }
}
