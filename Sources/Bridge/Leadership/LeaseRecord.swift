package import JSON

/// What the lease's key holds: which instance leads a bridge, and since which take-over.
///
/// One key of the state bucket, every write a compare-and-set. It elects; it does not fence: streams and the
/// checkpoint refuse a deposed leader by themselves.
package struct LeaseRecord: Sendable, Equatable {
  /// Names the process that wrote it.
  package var holder: String
  /// Grows with every take-over, by one at least.
  package var epoch: UInt64
  /// The holder has stopped: anybody may take the lease at once.
  package var isReleased: Bool
  /// … with everything that it had sent acknowledged.
  package var isDrained = false
  /// The configuration that the holder publishes by.
  package var configurationHash: String
  /// How long the holder may be silent before another instance takes over. Its own setting counts, since its own
  /// clock stops it.
  package var period: Duration
  /// How often the lease went from one instance to another.
  package var takeovers: UInt64
  /// Why the holder took it.
  package var reason: TakeoverReason
  /// The holder answers on the leader's subject: if nobody does, its connection is gone.
  package var answers: Bool
  /// The holder is an operator's command: when the instance before it last wrote the lease, by the servers' clock. What an
  /// operator publishes meanwhile is no event behind that instance's last one.
  package var heardAt: ServerTime?

  package init(
    holder: String, epoch: UInt64, isReleased: Bool = false, configurationHash: String,
    period: Duration, takeovers: UInt64, reason: TakeoverReason, answers: Bool = true
  ) {
    self.answers = answers
    self.holder = holder
    self.epoch = epoch
    self.isReleased = isReleased
    self.configurationHash = configurationHash
    self.period = period
    self.takeovers = takeovers
    self.reason = reason
  }

  /// The limits of `bridge.lease`.
  static let shortest = Duration.seconds(1)
  static let longest = Duration.seconds(60)

  package var json: JSONValue {
    var value: JSONValue = [
      "holder": .string(holder), "epoch": .int(epoch), "released": .bool(isReleased),
      "drained": .bool(isDrained),
      "config_hash": .string(configurationHash), "lease_ms": .int(period.milliseconds),
      "takeovers": .int(takeovers), "reason": .string(reason.rawValue), "answers": .bool(answers),
    ]
    if let heardAt { value["heard"] = .int(heardAt.seconds) }
    return value
  }

  /// Nil where somebody else has written something else there.
  package init?(parsing bytes: [UInt8]) {
    guard let json = try? JSONValue(parsing: bytes),
      let holder = json["holder"]?.stringValue,
      let epoch = json["epoch"]?.integer(UInt64.self),
      let milliseconds = json["lease_ms"]?.integer(Int64.self)
    else { return nil }
    self.holder = holder
    self.epoch = epoch
    isReleased = json["released"]?.boolValue ?? false
    isDrained = json["drained"]?.boolValue ?? false
    configurationHash = json["config_hash"]?.stringValue ?? ""
    period = min(max(.milliseconds(milliseconds), Self.shortest), Self.longest)
    takeovers = json["takeovers"]?.integer(UInt64.self) ?? 0
    reason = json["reason"]?.stringValue.flatMap { TakeoverReason(rawValue: $0) } ?? .first
    answers = json["answers"]?.boolValue ?? false
    heardAt = json["heard"]?.integer(Int.self).flatMap { $0 < 0 ? nil : ServerTime(seconds: $0) }
  }
}

/// Why an instance took the lease.
package enum TakeoverReason: String, Sendable, CaseIterable {
  /// Nobody had it.
  case first
  /// Its holder had stopped.
  case released
  /// Its holder's connection was closed: nobody answered on the leader's subject.
  case connectionGone = "connection_gone"
  /// Its holder had not renewed it for the lease's period.
  case expired

  /// For people.
  package var words: String {
    switch self {
    case .first: "no instance has led this bridge before"
    case .released: "its leader stopped"
    case .connectionGone: "its leader's connection is gone"
    case .expired: "its leader has not renewed its lease"
    }
  }
}

extension Duration {
  /// Whole milliseconds.
  package var milliseconds: Int64 {
    components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000
  }
}
