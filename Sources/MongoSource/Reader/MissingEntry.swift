internal import Oplog

/// What there is to say of an entry that a member doesn't have where reading is to resume.
package enum MissingEntry: Sendable {
  /// Another member has it.
  case elsewhere(String)
  case lost(PositionLost)
}

extension MongoConnection {
  /// Looks for the entry to resume at on the other members.
  /// - Parameter found: what this one has there, or next.
  func search(
    for resume: ResumePoint, found: ResumePoint?, majority: Bool, besides server: Server
  ) throws(MongoError) -> MissingEntry {
    var unasked: [String] = []
    if !primaryOnly {
      // Members keep oplogs of different lengths; a new member's is short.
      for member in try members() where member.host != server.host {
        do {
          let entry = try firstEntry(from: resume.position, majority: majority, on: member)
          if let entry, resume.matches(entry.point) { return .elsewhere(member.host) }
        } catch {
          unasked.append(member.host)
        }
      }
    }
    let oldest = try oldestEntry(on: server)
    let hello = try hello(server)
    let isOlder = oldest.map { resume.position < $0.point.position } ?? false
    return .lost(
      PositionLost(
        reason: isOlder ? .rolledOver : .rolledBack, expected: resume, found: found,
        oldest: oldest?.point, newest: hello.lastWrite, host: server.host, unasked: unasked))
  }
}

extension MongoAdmin {
  /// The `PositionLost` text where reading can't resume at `point`, as the reader itself would find; nil
  /// where it can, or where the entry is still to come.
  public static func loss(
    _ options: MongoSourceOptions, resumingAt point: ResumePoint
  ) async throws(MongoError) -> String? {
    try await ask(options) { connection, server throws(MongoError) -> String? in
      let majority = options.readConcernMajority
      let found = try connection.firstEntry(from: point.position, majority: majority, on: server)
      guard let found, !point.matches(found.point) else { return nil }
      let missing = try connection.search(
        for: point, found: found.point, majority: majority, besides: server)
      guard case .lost(let lost) = missing else { return nil }
      return lost.description
    }
  }
}
