/// The rights a bridge needs, as commands for mongosh. Everything within parentheses is JSON.
public enum DoctorRole {
  /// The role that the commands make.
  public static let name = "tailrace"

  package struct Privilege: Sendable {
    /// `local.oplog.rs` and the like; nil is the cluster.
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

  /// All that tailing takes. `readAnyDatabase` is not it: that leaves out the database `local`.
  package static let tail = [
    Privilege(namespace: ("local", "oplog.rs"), actions: ["find"])
  ]

  /// What `doctor` can see more with. It reads positions and sizes only.
  package static let doctor = [
    Privilege(namespace: nil, actions: ["replSetGetStatus", "serverStatus"]),
    Privilege(namespace: ("local", "oplog.rs"), actions: ["collStats"]),
    Privilege(namespace: ("local", "system.replset"), actions: ["find"]),
    Privilege(namespace: ("admin", "system.version"), actions: ["find"]),
  ]

  /// For snapshots and full documents. No database named: all of them.
  package static func documents(_ databases: [String]) -> [Privilege] {
    (databases.isEmpty ? [""] : databases).map {
      Privilege(namespace: ($0, ""), actions: ["find", "listCollections", "collStats"])
    }
  }

  /// For reading change streams, to be adapted to the user there is.
  public static var changeStreamCommands: String {
    let privileges = [Privilege(namespace: ("", ""), actions: ["find", "changeStream"])]
    let admin = "db.getSiblingDB(\"admin\")"
    return """
      // In mongosh, as a user administrator; grantRolesToUser for the user in source.uri:
      \(admin).createRole({"role": "\(name)_change_stream", "privileges": \(list(privileges)), "roles": []})
      \(admin).grantRolesToUser("<user>", [{"role": "\(name)_change_stream", "db": "admin"}])
      """
  }

  /// Makes the role; and a user with it, or gives it to the user there is.
  /// - Parameter user: name and authentication database of an existing user.
  public static func commands(
    databases: [String], user: (name: String, source: String)? = nil
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
      \(admin).createRole({"role": "\(name)", "privileges": \(list(tail)), "roles": []})
      \(own)
      \(optional(databases))
      """
  }

  /// The rights beyond tailing, for a role that is there.
  package static func optional(_ databases: [String]) -> String {
    """
    // Optional, so that doctor sees members, lag and the oplog's size:
    \(grant(doctor))
    // Optional, for snapshots and full documents:
    \(grant(documents(databases)))
    """
  }

  package static func grant(_ privileges: [Privilege], to role: String = name) -> String {
    "db.getSiblingDB(\"admin\").grantPrivilegesToRole(\"\(role)\", \(list(privileges)))"
  }

  /// Makes a role and gives it to a user who has others.
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

/// A string as JSON writes it, which is also how mongosh reads it.
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
