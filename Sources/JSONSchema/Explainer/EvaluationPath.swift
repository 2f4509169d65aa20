/// What a path through a schema (`keywordLocation`) says about the value, without the value.
package enum EvaluationPath {
  /// Where in values a keyword applies: a JSON pointer with `*` for any member or item. Only names that the
  /// schema itself has are in it.
  package static func place(_ keywordLocation: String) -> String {
    var place = ""
    walk(keywordLocation) { step in
      switch step {
      case .member(let name): place += "/" + JSONPointer.escaped(name)
      case .any: place += "/*"
      case .name, .same: break
      }
    }
    return place
  }

  /// Whether a keyword applies to the names of an object's members (`propertyNames`) instead of to their values.
  package static func isAboutName(_ keywordLocation: String) -> Bool {
    var found = false
    walk(keywordLocation) { if case .name = $0 { found = true } }
    return found
  }

  private enum Step {
    /// Into a member of this name, or the item with this index.
    case member(String)
    case any
    /// To the names of members.
    case name
    case same
  }

  private static func walk(_ keywordLocation: String, _ take: (Step) -> Void) {
    let tokens = JSONPointer.tokens(keywordLocation) ?? []
    var at = 0
    while at < tokens.count {
      let token = tokens[at]
      let next = at + 1 < tokens.count ? tokens[at + 1] : nil
      at += 1
      switch token {
      case "properties":
        guard let next else { break }
        take(.member(next))
        at += 1
      case "prefixItems":
        guard let next else { break }
        take(.member(next))
        at += 1
      case "patternProperties":
        guard next != nil else { break }
        take(.any)
        at += 1
      case "items":
        // Before 2020-12 it may be a list.
        if let next, !next.isEmpty, next.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
          take(.member(next))
          at += 1
        } else {
          take(.any)
        }
      case "additionalItems", "unevaluatedItems", "additionalProperties", "unevaluatedProperties":
        take(.any)
      case "propertyNames": take(.name)
      case "allOf", "anyOf", "oneOf", "dependentSchemas", "dependencies": at += 1
      default: take(.same)
      }
    }
  }
}
