// Collections whose changes may not be what a consumer expects.

extension DoctorFacts {
  private static let shownAtMost = 10

  func collectionChecks(_ demands: MongoDemands) -> [Diagnosis] {
    var checks = [timeSeriesCheck(demands), cappedCheck(demands)]
    if !demands.preImages.isEmpty { checks.append(preImagesCheck(demands)) }
    if let limit = demands.maxPayload { checks.append(sizeCheck(limit, demands)) }
    return checks
  }

  /// Why the list of collections is incomplete; nil if it is complete.
  private var unseen: String? {
    guard let collections = collections.value else { return collections.obstacle }
    if !collections.hidden.isEmpty {
      return "not permitted to list the collections of "
        + collections.hidden.prefix(Self.shownAtMost).joined(separator: ", ")
    }
    return collections.incomplete
  }

  private func listing(_ demands: MongoDemands) -> String? {
    let hidden = collections.value?.hidden ?? []
    guard collections.isForbidden || !hidden.isEmpty else { return nil }
    return give(
      DoctorRole.documents(demands.databases.isEmpty ? hidden : demands.databases), as: "documents")
  }

  private static func shown(_ names: [String]) -> String {
    names.prefix(shownAtMost).joined(separator: ", ")
      + (names.count > shownAtMost ? " and \(names.count - shownAtMost) more" : "")
  }

  private func listed(
    _ id: String, _ found: [String], none: String, warning: String, remedy: String?,
    _ demands: MongoDemands
  ) -> Diagnosis {
    let gap = unseen.map { "; not seen: \($0)" } ?? ""
    if !found.isEmpty {
      return Diagnosis(
        id, .warn, "\(Self.shown(found)): \(warning)\(gap)",
        remedy: [remedy, listing(demands)].compactMap(\.self).joined(separator: "\n"))
    }
    guard gap.isEmpty else {
      return Diagnosis(id, .warn, "can't be seen in full\(gap)", remedy: listing(demands))
    }
    return Diagnosis(id, .ok, none)
  }

  private func timeSeriesCheck(_ demands: MongoDemands) -> Diagnosis {
    listed(
      "mongodb.time_series",
      (collections.value?.all ?? []).filter(\.isTimeSeries).map(\.namespace), none: "none",
      warning: "time-series collections, whose changes are not published",
      remedy: "// Publish this data from the writers directly.",
      demands)
  }

  private func cappedCheck(_ demands: MongoDemands) -> Diagnosis {
    let logged = version.value.map { !$0.hasPrefix("4.") && !$0.hasPrefix("5.") } ?? false
    return listed(
      "mongodb.capped_collections",
      (collections.value?.all ?? []).filter(\.isCapped).map(\.namespace), none: "none",
      warning: logged
        ? "capped; documents evicted to make room are published as deletes"
        : "capped; documents are evicted from them without an event",
      remedy: "# To ignore such deletes, match inserts only in the rule:\n"
        + "match: { operations: [insert] }", demands)
  }

  private func preImagesCheck(_ demands: MongoDemands) -> Diagnosis {
    let id = "mongodb.pre_images"
    let known = collections.value?.all ?? []
    let hidden = Set(collections.value?.hidden ?? [])
    var off: [String] = []
    var absent: [String] = []
    for namespace in demands.preImages {
      if let collection = known.first(where: { $0.namespace == namespace }) {
        if !collection.hasPreImages { off.append(namespace) }
      } else {
        absent.append(namespace)
      }
    }
    if !off.isEmpty {
      let old = version.value.map { $0.hasPrefix("4.") || $0.hasPrefix("5.") } ?? false
      // A rule that requires pre-images can't publish its events without them.
      return Diagnosis(
        id, off.contains(where: demands.requiredPreImages.contains) ? .fail : .warn,
        "\(Self.shown(off)): a rule uses pre-images, but they are not recorded"
          + (old ? " (they need server 6.0)" : ""),
        remedy: old
          ? "// Upgrade to 6.0 or newer, or don't use pre-images."
          : off.map(Self.record).joined(separator: "\n"))
    }
    if !absent.isEmpty {
      let unseen = collections.value == nil || !hidden.isEmpty
      return Diagnosis(
        id, .warn,
        "\(Self.shown(absent)): "
          + (unseen ? "can't be seen (\(self.unseen ?? "not listed"))" : "does not exist (yet)"),
        remedy: listing(demands))
    }
    return Diagnosis(id, .ok, "recorded for all \(demands.preImages.count)")
  }

  private static func record(_ namespace: String) -> String {
    let dot = namespace.firstIndex(of: ".") ?? namespace.endIndex
    let collection = namespace[dot...].dropFirst()
    return "db.getSiblingDB(\(jsonText(String(namespace[..<dot])))).runCommand({ collMod: "
      + "\(jsonText(String(collection))), changeStreamPreAndPostImages: { enabled: true } })"
  }

  // MARK: Sizes

  /// JSON is longer than BSON, and a message also has headers.
  private static let margin = 0.6
  /// If the average is this share of the limit, some documents probably exceed it.
  private static let averageShare = 0.25

  private func sizeCheck(_ limit: Int, _ demands: MongoDemands) -> Diagnosis {
    let id = "mongodb.document_size"
    // Largest first, one per collection.
    var named: Set<String> = []
    let entries = (largest.value ?? []).filter {
      Double($0.bytes) > Double(limit) * Self.margin && named.insert($0.namespace).inserted
    }
    let averages = (collections.value?.all ?? []).filter {
      ($0.averageSize ?? 0) > Double(limit) * Self.averageShare
    }
    let max = sizeText(Double(limit))
    var found = entries.map { "\($0.namespace): a change of \(sizeText(Double($0.bytes)))" }
    found += averages.map {
      "\($0.namespace): documents of \(sizeText($0.averageSize ?? 0)) on average"
    }
    if !found.isEmpty {
      return Diagnosis(
        id, .warn,
        "\(Self.shown(found)), but NATS accepts messages of up to \(max): larger ones "
          + "become dead letters",
        remedy: "# In nats-server.conf (at most 8 MB is recommended):\nmax_payload: 8MB\n"
          + "# Or exclude large fields in the rule:\npayload: { exclude: [fullDocument.large] }")
    }
    guard let largest = largest.value else {
      return Diagnosis(id, .warn, "can't be seen: \(self.largest.obstacle)")
    }
    let seen =
      largest.map(\.bytes).max().map { "the largest recent change has " + sizeText(Double($0)) }
      ?? "no changes yet"
    return Diagnosis(
      id, .ok,
      "\(seen); NATS accepts \(max), MongoDB up to 16 MiB. Larger messages become dead letters")
  }
}
