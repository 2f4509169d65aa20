internal import Oplog

// The oplog window, and the checkpoint's position in it.

extension DoctorFacts {
  /// Filled to this share of its size, an oplog drops its oldest entries.
  private static let full = 0.9

  func windowCheck(_ demands: MongoDemands) -> Diagnosis {
    let id = "mongodb.oplog_window"
    guard let ends = oplog.value else { return Diagnosis(id, .warn, "can't be seen") }
    // After a failover the bridge reads from another member, whose oplog may be shorter.
    let shortest = members.compactMap { member in
      member.oldest.map { (member.host, age(of: $0, before: ends.newest)) }
    }.min { $0.1 < $1.1 }
    let seconds = min(ends.seconds, shortest?.1 ?? ends.seconds)
    let place = shortest.map { seconds < ends.seconds ? " at \($0.0)" : "" } ?? ""
    var evidence = "reaches back \(durationText(seconds))\(place)"
    var filled: Double?
    if let size = oplogSize.value, size.maximum > 0 {
      let share = size.bytes / size.maximum
      filled = share
      evidence += ", \(sizeText(size.bytes)) of \(sizeText(size.maximum))"
    } else {
      evidence += "; its size can't be seen (collStats): \(oplogSize.obstacle)"
    }
    let hours = retention.value ?? 0
    if hours > 0 { evidence += "; at least \(hours.formattedShortly) h are kept" }

    let wanted = Int(demands.minimumWindow.components.seconds)
    let assured = max(Double(seconds), hours * 3600)
    if assured >= Double(wanted) { return Diagnosis(id, .ok, evidence) }
    if let filled, filled < Self.full {
      // The rate of an oplog younger than an hour means little.
      if seconds < 3600 {
        return Diagnosis(
          id, .warn, evidence + "; it is too young to predict its window",
          remedy: "# Retry when it is an hour old:\ntailrace doctor")
      }
      let expected = filled > 0 ? Int(min(Double(seconds) / filled, 1e9)) : wanted
      evidence += "; at this rate it will hold \(durationText(expected)) when it is full"
      if expected >= wanted { return Diagnosis(id, .ok, evidence) }
    }
    return Diagnosis(
      id, .warn,
      evidence + "; a longer outage loses the position "
        + "(\(durationText(wanted)) wanted)",
      remedy: resize(wanted))
  }

  /// The command takes MiB, at least 990.
  private func resize(_ seconds: Int) -> String {
    let hours = max((seconds + 3599) / 3600, 1)
    let megabytes = max(Int((oplogSize.value?.maximum ?? 0) / 1_048_576), 990)
    return """
      // On every member (it is not replicated). Check that the disk has room for it:
      db.adminCommand({ replSetResizeOplog: 1, size: Double(\(megabytes)), \
      minRetentionHours: \(hours) })
      """
  }

  private func age(of oldest: ResumePoint, before newest: ResumePoint) -> Int {
    max(Int(newest.position.seconds) - Int(oldest.position.seconds), 0)
  }

  // MARK: The checkpoint

  /// Members keep oplogs of different lengths, and the reader tries all of them.
  private func member(reachingBackTo position: OplogPosition) -> String? {
    members.first { $0.oldest.map { $0.position <= position } ?? false }?.host
  }

  /// The text of the reader's `PositionLost`.
  private func loss(_ point: ResumePoint, _ ends: OplogEnds) -> String {
    PositionLost(
      reason: .rolledOver, expected: point, found: nil, oldest: ends.oldest, newest: ends.newest,
      host: host
    ).description
  }

  func startCheck(_ start: OplogPosition, _ demands: MongoDemands) -> Diagnosis {
    let id = "mongodb.start"
    guard let ends = oplog.value else { return Diagnosis(id, .warn, "can't be seen") }
    guard start < ends.oldest.position else {
      return Diagnosis(id, .ok, "source.start is \(start), and the oplog reaches back to it")
    }
    if let member = member(reachingBackTo: start) {
      return Diagnosis(
        id, .warn, "of the members, only \(member) reaches back to source.start, \(start)")
    }
    return Diagnosis(
      id, demands.snapshotsOnLoss ? .warn : .fail,
      "source.start is \(start). " + loss(ResumePoint(position: start, term: nil), ends),
      remedy: "# In the configuration:\nsource: { start: oldest }   # or snapshot, now, "
        + "or a position from \(ends.oldest.position) on")
  }

  func checkpointCheck(
    _ checkpoint: ResumePoint, _ demands: MongoDemands = MongoDemands()
  ) -> Diagnosis {
    // A change stream needs no entry at its start time and checks its history itself.
    let lost: Diagnosis.Verdict = demands.readsOplog && !demands.snapshotsOnLoss ? .fail : .warn
    let id = "mongodb.checkpoint"
    guard let ends = oplog.value else { return Diagnosis(id, .warn, "can't be seen") }
    let position = checkpoint.position
    if position < ends.oldest.position {
      if let member = member(reachingBackTo: position) {
        return Diagnosis(
          id, .warn,
          "\(checkpoint) is no longer in the oplog of \(host), of which the oldest entry is "
            + "\(ends.oldest); \(member) still has it",
          remedy: "# Start the bridge now:\ntailrace run")
      }
      return Diagnosis(
        id, lost,
        "\(checkpoint) is older than the oldest entry, \(ends.oldest) at \(host): the "
          + "oplog no longer holds the changes in between",
        remedy: "# Close the gap with a snapshot of the collections, or accept it:\n"
          + "tailrace run --from oldest --force")
    }
    guard case .known(let found) = checkpointEntry else {
      return Diagnosis(
        id, .warn, "\(checkpoint) can't be checked: \(checkpointEntry.obstacle)")
    }
    guard let found else {
      return Diagnosis(
        id, .warn,
        "\(checkpoint) is after the newest entry of \(host): \(host) or the majority lags, "
          + "or this is another replica set")
    }
    guard checkpoint.matches(found) else {
      return Diagnosis(
        id, lost,
        "\(checkpoint) is not in the oplog, the next entry is \(found): a failover "
          + "rolled it back, or this is another replica set",
        remedy:
          "# Check source.uri. If it is right, continue from a position before the failover:\n"
          + "tailrace run --from <seconds>.<increment> --force")
    }
    let headroom = Int(position.seconds) - Int(ends.oldest.position.seconds)
    let behind = Int(ends.newest.position.seconds) - Int(position.seconds)
    let evidence =
      "\(checkpoint), \(durationText(max(behind, 0))) behind the newest entry, "
      + "\(durationText(headroom)) after the oldest"
    let filled = oplogSize.value.map { $0.maximum > 0 ? $0.bytes / $0.maximum : 0 } ?? 1
    if filled >= Self.full, headroom < 3600 || headroom * 4 < ends.seconds {
      return Diagnosis(
        id, .warn, evidence + ": the bridge loses its position if it stays down longer",
        remedy: "# Start the bridge now, and enlarge the oplog:\n" + resize(24 * 3600))
    }
    return Diagnosis(id, .ok, evidence)
  }
}

// MARK: Formatting

/// The two largest units, e.g. `3 h 12 min`.
package func durationText(_ seconds: Int) -> String {
  let units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
  guard let first = units.firstIndex(where: { seconds >= $0.1 }) else { return "0 s" }
  var text = "\(seconds / units[first].1) \(units[first].0)"
  if first + 1 < units.count {
    let rest = seconds % units[first].1 / units[first + 1].1
    if rest > 0 { text += " \(rest) \(units[first + 1].0)" }
  }
  return text
}

/// e.g. `990 MiB`, `1.5 GiB`
package func sizeText(_ bytes: Double) -> String {
  var value = bytes
  var unit = 0
  let units = ["B", "KiB", "MiB", "GiB", "TiB"]
  while value >= 1024, unit + 1 < units.count {
    value /= 1024
    unit += 1
  }
  return "\(value.formattedShortly) \(units[unit])"
}

extension Double {
  /// At most one decimal.
  var formattedShortly: String {
    guard isFinite, abs(self) < 1e15 else { return "\(self)" }
    let tenths = Int64((self * 10).rounded())
    return tenths % 10 == 0 || abs(self) >= 100
      ? "\(Int64(rounded()))" : "\(tenths / 10).\(abs(tenths % 10))"
  }
}
