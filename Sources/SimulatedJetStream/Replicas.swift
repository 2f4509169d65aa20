/// The followers of a stream with several replicas: what each has applied of what the leader has.
///
/// Direct gets can be answered by any of them; everything else is the leader's.
public struct Replicas: Sendable {
  public struct Follower: Sendable {
    public internal(set) var store: MessageStore
    /// Does not apply what is committed until told to.
    public var lags = false
    var backlog: [Change] = []
    public var behind: Int { backlog.count }
  }

  /// A change of a stream's messages.
  enum Change: Sendable {
    case message(String, [UInt8], [UInt8], Int64)
    case skip
    case remove(UInt64)
    case purge(String, below: UInt64, keep: UInt64, ServerRules)
    case limits(StreamConfiguration, ServerRules)
  }

  public internal(set) var followers: [Follower]

  init(_ configuration: StreamConfiguration) {
    followers = (1..<configuration.replicas).map { _ in Follower(store: MessageStore(configuration))
    }
  }

  mutating func log(_ change: Change) {
    for index in followers.indices {
      if followers[index].lags {
        followers[index].backlog.append(change)
      } else {
        followers[index].store.apply(change)
      }
    }
  }

  /// Applies the next `count` changes that a follower has not applied yet.
  public mutating func catchUp(_ follower: Int, _ count: Int = .max) {
    let next = followers[follower].backlog.prefix(count)
    followers[follower].backlog.removeFirst(next.count)
    for change in next { followers[follower].store.apply(change) }
  }

  public mutating func setLag(_ follower: Int, _ lags: Bool) {
    followers[follower].lags = lags
    if !lags { catchUp(follower) }
  }

  mutating func apply(_ change: (inout MessageStore) -> Void) {
    for index in followers.indices { change(&followers[index].store) }
  }
}

extension MessageStore {
  fileprivate mutating func apply(_ change: Replicas.Change) {
    switch change {
    case .message(let subject, let headers, let payload, let time):
      _ = append(subject, headers, payload, at: time)
    case .skip: _ = skip()
    case .remove(let sequence): remove(sequence)
    case .purge(let subject, let below, let keep, let rules):
      _ = purge(subject, below: below, keep: keep, rules)
    case .limits(let limits, let rules): self.change(limits, rules)
    }
  }
}
