// Collections whose changes are not, or not always, what a consumer may expect.

extension DoctorFacts {
  private static let shownAtMost = 10

  func collectionChecks(_ demands: MongoDemands) -> [Diagnosis] {
    var checks = [timeSeriesCheck(demands), cappedCheck(demands)]
    if !demands.preImages.isEmpty { checks.append(preImagesCheck(demands)) }
    if let limit = demands.maxPayload { checks.append(sizeCheck(limit, demands)) }
    return checks
  }

  /// Why not every collection is known; nil when all are.
  private var unseen: String? {
    guard let collections = collections.value else { return collections.obstacle }
    if !collections.hidden.isEmpty {
      return "no right to list the collections of "
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
      remedy: "// What they hold must reach its consumers another way: from the writers directly.",
      demands)
  }

  private func cappedCheck(_ demands: MongoDemands) -> Diagnosis {
    let logged = version.value.map { !$0.hasPrefix("4.") && !$0.hasPrefix("5.") } ?? false
    return listed(
      "mongodb.capped_collections",
      (collections.value?.all ?? []).filter(\.isCapped).map(\.namespace), none: "none",
      warning: logged
        ? "capped; a document that makes room for others is published as deleted"
        : "capped; documents vanish from them without any event",
      remedy: "# To leave such deletes out, let the rule match inserts only:\n"
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
      // Without them, events of a rule that requires them are invalid.
      return Diagnosis(
        id, off.contains(where: demands.requiredPreImages.contains) ? .fail : .warn,
        "\(Self.shown(off)): the document as it was before is wanted, but not recorded"
          + (old ? " (this server can't: that takes 6.0)" : ""),
        remedy: old
          ? "// Upgrade to 6.0 or newer, or do without."
          : off.map(Self.record).joined(separator: "\n"))
    }
    if !absent.isEmpty {
      let unseen = collections.value == nil || !hidden.isEmpty
      return Diagnosis(
        id, .warn,
        "\(Self.shown(absent)): "
          + (unseen ? "can't be seen (\(self.unseen ?? "not listed"))" : "not there (yet)"),
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

  /// JSON is longer than BSON, and headers come on top.
  private static let margin = 0.6
  /// Where the average is this share of the limit, some documents are likely beyond it.
  private static let averageShare = 0.25

  private func sizeCheck(_ limit: Int, _ demands: MongoDemands) -> Diagnosis {
    let id = "mongodb.document_size"
    // Largest first: one of each collection.
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
        "\(Self.shown(found)), where NATS takes messages of up to \(max): larger ones "
          + "become dead letters",
        remedy: "# In nats-server.conf (8 MB is the most that is advised):\nmax_payload: 8MB\n"
          + "# Or leave large fields out, in the rule:\npayload: { exclude: [fullDocument.large] }")
    }
    guard let largest = largest.value else {
      return Diagnosis(id, .warn, "can't be seen: \(self.largest.obstacle)")
    }
    let seen =
      largest.map(\.bytes).max().map {
        "the largest of the latest changes has "
          + sizeText(Double($0))
      } ?? "no changes yet"
    return Diagnosis(
      id, .ok, "\(seen); NATS takes \(max), MongoDB up to 16 MiB. Larger ones become dead letters")
  }
}
