package import Oplog

/// The result of a question to the server.
package enum Answer<Value: Sendable>: Sendable {
  case known(Value)
  /// The user lacks the privilege.
  case forbidden
  case failed(MongoError)
  /// With the reason, e.g. that the time limit was reached.
  case notAsked(String)

  package var value: Value? {
    if case .known(let value) = self { value } else { nil }
  }

  /// Why there is no value, as text.
  package var obstacle: String {
    switch self {
    case .known: ""
    case .forbidden: "the user lacks the privilege"
    case .failed(let error): error.description
    case .notAsked(let why): why
    }
  }
}

/// The input of the checks: what was learned about a deployment.
package struct DoctorFacts: Sendable {
  /// The member that was asked, by the read preference.
  package var host = ""
  package var set = SetView()
  package var access = Access()
  /// This bridge reads with majority read concern.
  package var readsMajority = true

  package var version: Answer<String> = .notAsked("")
  package var feature: Answer<Feature> = .notAsked("")
  package var oplog: Answer<OplogEnds> = .notAsked("")
  package var majorityRead: Answer<Bool> = .notAsked("")
  /// Where a change stream would begin now. Nil: the bridge reads none.
  package var changeStream: Answer<OplogPosition>?
  package var oplogSize: Answer<OplogSize> = .notAsked("")
  /// Hours, 0 for none.
  package var retention: Answer<Double> = .notAsked("")
  /// The first entry at or after the checkpoint; nil inside if there is none yet.
  package var checkpointEntry: Answer<ResumePoint?> = .notAsked("")
  package var states: Answer<[MemberState]> = .notAsked("")
  package var configuration: Answer<[Voter]> = .notAsked("")
  /// The members that hold data and that this machine reaches.
  package var members: [MemberView] = []
  package var collections: Answer<Collections> = .notAsked("")
  /// The largest of the newest oplog entries.
  package var largest: Answer<[LargeEntry]> = .notAsked("")
  /// The collections that rules read documents of, and whether the user may.
  package var reads: [Read] = []

  package init() {}

  /// A member's view of its set, from `hello`, which needs no privilege.
  package struct SetView: Sendable {
    package var name = ""
    /// Voting or not; `hello` omits hidden members.
    package var dataMembers: [String] = []
    package var arbiters: [String] = []
    package var lastWrite: ResumePoint?
    package var majority: ResumePoint?

    package init() {}
  }

  /// How the bridge connects.
  package struct Access: Sendable {
    package var usesTLS = false
    /// libmongoc's version; empty if it is not known.
    package var library = ""
    package var user: (name: String, source: String)?
    /// The user's roles; nil if they can't be read.
    package var roles: [Role]?
    package var hosts: [String] = []

    package init() {}
  }

  package struct Role: Sendable, Equatable {
    package var name: String
    package var database: String

    package init(_ name: String, in database: String) {
      self.name = name
      self.database = database
    }
  }

  /// An attempt to read a collection.
  package struct Read: Sendable {
    package var database: String
    /// Empty: any collection of the database, because they can't be listed.
    package var collection: String
    package var rules: [String]
    package var purpose: String
    package var isNeeded: Bool
    package var answer: Answer<Bool>

    package init(
      _ database: String, _ collection: String, rules: [String], purpose: String, isNeeded: Bool,
      _ answer: Answer<Bool>
    ) {
      self.database = database
      self.collection = collection
      self.rules = rules
      self.purpose = purpose
      self.isNeeded = isNeeded
      self.answer = answer
    }

    package var namespace: String { "\(database).\(collection.isEmpty ? "*" : collection)" }
    package var isOfPreImages: Bool { database == "config" }
  }

  package struct Feature: Sendable {
    /// The feature compatibility version, e.g. "6.0".
    package var version: String
    /// Set during an upgrade or downgrade.
    package var target: String?
    /// The set is this shard of a sharded cluster.
    package var shard: String?

    package init(version: String, target: String? = nil, shard: String? = nil) {
      self.version = version
      self.target = target
      self.shard = shard
    }
  }

  package struct OplogEnds: Sendable {
    package var oldest: ResumePoint
    package var newest: ResumePoint

    package init(oldest: ResumePoint, newest: ResumePoint) {
      self.oldest = oldest
      self.newest = newest
    }

    /// Seconds from the first entry to the last.
    package var seconds: Int {
      max(Int(newest.position.seconds) - Int(oldest.position.seconds), 0)
    }
  }

  package struct OplogSize: Sendable {
    package var bytes: Double
    package var maximum: Double

    package init(bytes: Double, maximum: Double) {
      self.bytes = bytes
      self.maximum = maximum
    }
  }

  /// A member as the set itself sees it (replSetGetStatus).
  package struct MemberState: Sendable {
    package var host: String
    /// PRIMARY, SECONDARY, ARBITER, RECOVERING, (not reachable/healthy), …
    package var state: String
    package var healthy: Bool
    /// Seconds since 1970 of its newest entry; 0 if unknown.
    package var optime: UInt32
    package var message: String

    package init(
      host: String, state: String, healthy: Bool, optime: UInt32, message: String = ""
    ) {
      self.host = host
      self.state = state
      self.healthy = healthy
      self.optime = optime
      self.message = message
    }
  }

  /// A member as configured (local.system.replset).
  package struct Voter: Sendable {
    package var host: String
    package var votes: Int
    package var isArbiter: Bool
    package var isHidden: Bool
    package var delaySeconds: Int

    package init(
      host: String, votes: Int = 1, isArbiter: Bool = false, isHidden: Bool = false,
      delaySeconds: Int = 0
    ) {
      self.host = host
      self.votes = votes
      self.isArbiter = isArbiter
      self.isHidden = isHidden
      self.delaySeconds = delaySeconds
    }
  }

  /// A member as seen from this machine.
  package struct MemberView: Sendable {
    package var host: String
    package var lastWrite: ResumePoint?
    package var oldest: ResumePoint?
    /// How far its clock is ahead of this machine's, and the error of that, in milliseconds.
    package var skew: Int64?
    package var uncertainty: Int64

    package init(
      host: String, lastWrite: ResumePoint? = nil, oldest: ResumePoint? = nil, skew: Int64? = nil,
      uncertainty: Int64 = 0
    ) {
      self.host = host
      self.lastWrite = lastWrite
      self.oldest = oldest
      self.skew = skew
      self.uncertainty = uncertainty
    }
  }

  package struct Collections: Sendable {
    package var all: [Collection] = []
    /// Databases whose collections may not be listed.
    package var hidden: [String] = []
    /// Why the list is not complete.
    package var incomplete: String?

    package init(_ all: [Collection] = [], hidden: [String] = [], incomplete: String? = nil) {
      self.all = all
      self.hidden = hidden
      self.incomplete = incomplete
    }
  }

  package struct Collection: Sendable {
    package var namespace: String
    package var isTimeSeries = false
    package var isCapped = false
    package var hasPreImages = false
    /// In bytes.
    package var averageSize: Double?

    package init(
      _ namespace: String, isTimeSeries: Bool = false, isCapped: Bool = false,
      hasPreImages: Bool = false, averageSize: Double? = nil
    ) {
      self.namespace = namespace
      self.isTimeSeries = isTimeSeries
      self.isCapped = isCapped
      self.hasPreImages = hasPreImages
      self.averageSize = averageSize
    }
  }

  package struct LargeEntry: Sendable {
    package var namespace: String
    package var bytes: Int

    package init(namespace: String, bytes: Int) {
      self.namespace = namespace
      self.bytes = bytes
    }
  }
}

/// No member that can be tailed was found; `found` is what answered instead.
package struct NoContact: Sendable {
  package var error: MongoError
  package var found: [ProbedServer]

  package init(_ error: MongoError, found: [ProbedServer] = []) {
    self.error = error
    self.found = found
  }

  /// One address of the connection string, probed directly.
  package struct ProbedServer: Sendable {
    package enum Kind: Sendable {
      case silent(String)
      case router
      case standalone
      case uninitiated
      case member(set: String)
    }

    package var host: String
    package var kind: Kind

    package init(host: String, kind: Kind) {
      self.host = host
      self.kind = kind
    }
  }
}
