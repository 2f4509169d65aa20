internal import BSON

// Whether the rules' documents can be read, and which rules match no existing collection.

extension DoctorExaminer {
  /// The user's roles. Reading one's own needs no privilege.
  func roles() -> [DoctorFacts.Role]? {
    guard isConfined else { return nil }
    return ask(#"{"connectionStatus":1,"maxTimeMS":\#(Self.maxTime)}"#) { reply in
      var roles: [DoctorFacts.Role] = []
      reply.inner("authInfo")?.inner("authenticatedUserRoles")?.each { role in
        if let name = role.text("role"), let database = role.text("db") {
          roles.append(DoctorFacts.Role(name, in: database))
        }
      }
      return roles
    }.value
  }

  /// One command each.
  private static let mostReads = 100
  /// A name that no collection has, to test the privilege for the whole database.
  private static let noCollection = "tailrace-doctor"

  /// Tries to read each collection that a rule reads documents of.
  func reads(_ collections: Answer<DoctorFacts.Collections>) -> [DoctorFacts.Read] {
    var found: [DoctorFacts.Read] = []
    for demand in demands.rules {
      guard let purpose = demand.reads else { continue }
      for (database, collection) in namespaces(of: demand, collections) {
        if let index = found.firstIndex(where: {
          $0.database == database && $0.collection == collection && $0.purpose == purpose
        }) {
          found[index].rules.append(demand.rule)
          found[index].isNeeded = found[index].isNeeded || demand.needsReads
        } else if found.count < Self.mostReads {
          found.append(
            DoctorFacts.Read(
              database, collection, rules: [demand.rule], purpose: purpose,
              isNeeded: demand.needsReads,
              tryToRead(database, collection.isEmpty ? Self.noCollection : collection)))
        }
      }
    }
    return found
  }

  /// Pre-images are in a collection of their own.
  func preImageReads() -> [DoctorFacts.Read] {
    guard !demands.preImageRules.isEmpty, capabilities?.keepsPreImages ?? false else { return [] }
    let (database, collection) = ("config", "system.preimages")
    return [
      DoctorFacts.Read(
        database, collection, rules: demands.preImageRules, purpose: "documents before changes",
        isNeeded: true, tryToRead(database, collection))
    ]
  }

  private func namespaces(
    of demand: RuleDemand, _ collections: Answer<DoctorFacts.Collections>
  ) -> [(database: String, collection: String)] {
    if let database = demand.database, let collection = demand.collection {
      return [(database, collection)]
    }
    let known = (collections.value?.all ?? []).filter { demand.matches($0.namespace) }
    if !known.isEmpty { return known.map { DoctorFacts.split($0.namespace) } }
    // If they can be listed, there are none; otherwise the privilege for all of them is tested.
    guard let database = demand.database,
      collections.value?.hidden.contains(database) ?? collections.isForbidden
    else { return [] }
    return [(database, "")]
  }

  private func tryToRead(_ database: String, _ collection: String) -> Answer<Bool> {
    ask(
      #"{"find":\#(jsonText(collection)),"limit":1,"singleBatch":true,"projection":{"_id":1},"#
        + #""maxTimeMS":\#(Self.maxTime)}"#, in: database
    ) { _ in true }
  }
}

extension DoctorFacts {
  static func split(_ namespace: String) -> (database: String, collection: String) {
    let dot = namespace.firstIndex(of: ".") ?? namespace.endIndex
    return (String(namespace[..<dot]), String(namespace[dot...].dropFirst()))
  }

  private static func names(_ rules: [String]) -> String {
    "rule" + (rules.count > 1 ? "s " : " ") + rules.joined(separator: ", ")
  }

  /// Empty if no rule reads documents.
  var readsChecks: [Diagnosis] {
    guard !reads.isEmpty else { return [] }
    let id = "mongodb.documents"
    let forbidden = reads.filter { $0.answer.isForbidden }
    if !forbidden.isEmpty {
      let what = forbidden.prefix(10).map {
        "\($0.namespace) (\($0.purpose): \(Self.names($0.rules)))"
      }
      let more = forbidden.count > 10 ? " and \(forbidden.count - 10) more" : ""
      var databases: [String] = []
      for read in forbidden where !read.isOfPreImages && !databases.contains(read.database) {
        databases.append(read.database)
      }
      let privileges =
        (databases.isEmpty ? [] : DoctorRole.documents(databases))
        + (forbidden.contains(where: \.isOfPreImages) ? DoctorRole.preImages : [])
      return [
        Diagnosis(
          id, forbidden.contains(where: \.isNeeded) ? .fail : .warn,
          "\(who) may not read \(what.joined(separator: ", "))\(more)",
          remedy: give(privileges, as: "documents"))
      ]
    }
    if let failed = reads.first(where: { $0.answer.value == nil }) {
      return [
        Diagnosis(id, .warn, "\(failed.namespace) can't be checked: \(failed.answer.obstacle)")
      ]
    }
    return [Diagnosis(id, .ok, "\(reads.count) collections can be read")]
  }

  /// Rules without an existing collection. Empty if no rule is known.
  func namespaceChecks(_ demands: MongoDemands) -> [Diagnosis] {
    guard !demands.rules.isEmpty, let collections = collections.value,
      collections.incomplete == nil
    else { return [] }
    let id = "mongodb.namespaces"
    var absent: [String] = []
    for demand in demands.rules
    where !collections.all.contains(where: { demand.matches($0.namespace) }) {
      if let database = demand.database {
        if collections.hidden.contains(database) { continue }
      } else if !collections.hidden.isEmpty {
        continue
      }
      let near = collections.all.first {
        $0.namespace.lowercased() == demand.namespace.lowercased()
      }
      absent.append(
        "\(demand.namespace) (rule \(demand.rule)"
          + (near.map { "; there is \($0.namespace)" } ?? "") + ")")
    }
    guard !absent.isEmpty else {
      let unseen = collections.hidden.isEmpty ? "" : ", as far as collections can be listed"
      return [
        Diagnosis(
          id, .ok,
          "every rule has a collection\(unseen); documents that enter one by a rename or $out have no "
            + "events: publish them with tailrace snapshot --namespace")
      ]
    }
    let shown = absent.prefix(10).joined(separator: ", ")
    let more = absent.count > 10 ? " and \(absent.count - 10) more" : ""
    return [
      Diagnosis(
        id, .warn, "no such collection (yet): \(shown)\(more)",
        remedy: "# If they are not to be created later, correct match.namespace; names are "
          + "case-sensitive.\n"
          + "# If a rename or $out creates them, publish them then: tailrace snapshot --namespace "
          + "<database>.<collection>")
    ]
  }

  /// Commands that grant the bridge's user more privileges: through the role `tailrace` if the user has
  /// it, else through a separate role for the purpose, created if necessary.
  func give(_ privileges: [DoctorRole.Privilege], as purpose: String) -> String {
    guard let user = access.user, let roles = access.roles,
      !roles.contains(Role(DoctorRole.name, in: "admin"))
    else { return DoctorRole.grant(privileges) }
    let own = "\(DoctorRole.name)_\(purpose)"
    if roles.contains(Role(own, in: "admin")) { return DoctorRole.grant(privileges, to: own) }
    return DoctorRole.make(own, privileges, for: user)
  }
  /// Commands for the privileges of the reader, which nothing works without. Where there is no user yet,
  /// they create the role that others are added to.
  func giveReading(
    _ privileges: [DoctorRole.Privilege], as purpose: String, _ demands: MongoDemands
  ) -> String {
    guard access.user != nil else {
      return DoctorRole.commands(reading: privileges, databases: demands.databases)
        + "\n# Then put that user into source.uri."
    }
    let isKnown = access.roles?.contains { $0.name.hasPrefix(DoctorRole.name) } ?? false
    guard isKnown || purpose != "oplog" else {
      return DoctorRole.commands(
        reading: privileges, databases: demands.databases, user: access.user)
    }
    return give(privileges, as: purpose)
  }

  var who: String { access.user.map { "the user \($0.name)" } ?? "a client without a user" }
}
