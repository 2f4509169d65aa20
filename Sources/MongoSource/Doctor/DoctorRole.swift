/// The privileges a bridge needs, as mongosh commands. All arguments are JSON.
public enum DoctorRole {
  /// The role that the commands create.
  public static let name = "tailrace"

  package struct Privilege: Sendable {
    /// Nil: the cluster resource.
    package var namespace: (database: String, collection: String)?
    package var actions: [String]

    fileprivate var json: String {
      let resource =
        namespace.map {
          "{\"db\": \(jsonText($0.database)), \"collection\": \(jsonText($0.collection))}"
        } ?? "{\"cluster\": true}"
      let actions = actions.map(jsonText).joined(separator: ", ")
      return "{\"resource\": \(resource), \"actions\": [\(actions)]}"
    }
  }

  /// All that tailing needs. `readAnyDatabase` doesn't include the database `local`.
  package static let tail = [
    Privilege(namespace: ("local", "oplog.rs"), actions: ["find"])
  ]

  /// All that reading change streams needs.
  package static let changeStream = [
    Privilege(namespace: ("", ""), actions: ["find", "changeStream"])
  ]

  /// For documents as they were before a change. No built-in role for reading includes it.
  package static let preImages = [
    Privilege(namespace: ("config", "system.preimages"), actions: ["find"])
  ]

  /// Optional, for `doctor`: it reads positions and sizes only.
  package static let doctor = [
    Privilege(namespace: nil, actions: ["replSetGetStatus", "serverStatus"]),
    Privilege(namespace: ("local", "oplog.rs"), actions: ["collStats"]),
    Privilege(namespace: ("local", "system.replset"), actions: ["find"]),
    Privilege(namespace: ("admin", "system.version"), actions: ["find"]),
  ]

  /// For snapshots and full documents. An empty list means all databases.
  package static func documents(_ databases: [String]) -> [Privilege] {
    (databases.isEmpty ? [""] : databases).map {
      Privilege(namespace: ($0, ""), actions: ["find", "listCollections", "collStats"])
    }
  }

  /// Creates the role and grants it to `user`, or to a new user.
  /// - Parameters:
  ///   - reading: the privileges of the reader.
  ///   - user: name and authentication database of an existing user.
  package static func commands(
    reading: [Privilege] = tail, databases: [String],
    user: (name: String, source: String)? = nil
  ) -> String {
    let admin = "db.getSiblingDB(\"admin\")"
    let own =
      user.map {
        "db.getSiblingDB(\(jsonText($0.source))).grantRolesToUser(\(jsonText($0.name)), "
          + "[{\"role\": \"\(name)\", \"db\": \"admin\"}])"
      }
      ?? "\(admin).createUser({\"user\": \"\(name)\", \"pwd\": passwordPrompt(), "
      + "\"roles\": [\"\(name)\"]})"
    return """
      // In mongosh, as a user administrator. This is enough to tail:
      \(admin).createRole({"role": "\(name)", "privileges": \(list(reading)), "roles": []})
      \(own)
      \(optional(databases))
      """
  }

  /// The privileges beyond tailing, for an existing role.
  package static func optional(_ databases: [String]) -> String {
    """
    // Optional, for doctor to see members, lag and oplog size:
    \(grant(doctor))
    // Optional, for snapshots and full documents:
    \(grant(documents(databases)))
    """
  }

  package static func grant(_ privileges: [Privilege], to role: String = name) -> String {
    "db.getSiblingDB(\"admin\").grantPrivilegesToRole(\"\(role)\", \(list(privileges)))"
  }

  /// Creates a role and grants it to an existing user.
  package static func make(
    _ role: String, _ privileges: [Privilege], for user: (name: String, source: String)
  ) -> String {
    """
    db.getSiblingDB("admin").createRole({"role": "\(role)", "privileges": \(list(privileges)), "roles": []})
    db.getSiblingDB(\(jsonText(user.source))).grantRolesToUser(\(jsonText(user.name)), \
    [{"role": "\(role)", "db": "admin"}])
    """
  }

  private static func list(_ privileges: [Privilege]) -> String {
    "[" + privileges.map(\.json).joined(separator: ", ") + "]"
  }
}

/// A JSON string literal, which mongosh reads as well.
func jsonText(_ text: String) -> String {
  var result = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"": result += "\\\""
    case "\\": result += "\\\\"
    case _ where scalar.value < 0x20:
      let digits = String(scalar.value, radix: 16)
      result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    default: result.unicodeScalars.append(scalar)
    }
  }
  return result + "\""
}
