import JSON
import JSONSchema

/// What a schema says at its top of objects: enough to see that no object is of two kinds, without looking at each pair
/// of many alternatives.
struct ObjectKind {
  private var types = JSONTypes.all
  private var required: Set<Text> = []
  private var constants: [Text: Text] = [:]

  /// So many references, or parts of `allOf`, are followed into each other.
  private static let deepest = 4

  init(_ key: SchemaKey, _ classes: SchemaClasses) { read(key, classes, Self.deepest) }

  private mutating func read(_ key: SchemaKey, _ classes: SchemaClasses, _ depth: Int) {
    guard depth > 0, case .keywords(let keywords)? = classes.node(key)?.content else { return }
    for (_, keyword) in keywords {
      switch keyword {
      case .type(let some): types.formIntersection(some)
      case .required(let names): required.formUnion(names.map(Text.init))
      case .properties(let named):
        for (name, schema) in named {
          guard let constant = Self.constant(classes.below(key, schema), classes) else { continue }
          constants[Text(name)] = constant
        }
      case .reference(let schema): read(classes.below(key, schema), classes, depth - 1)
      case .allOf(let schemas):
        for schema in schemas { read(classes.below(key, schema), classes, depth - 1) }
      default: break
      }
    }
  }

  /// The only value that a schema names.
  private static func constant(_ key: SchemaKey, _ classes: SchemaClasses) -> Text? {
    guard case .keywords(let keywords)? = classes.node(key)?.content else { return nil }
    for (_, keyword) in keywords {
      switch keyword {
      case .const(let value): return Text(Canonical.text(value))
      case .enumeration(let values) where values.count == 1:
        return Text(Canonical.text(values[0]))
      default: break
      }
    }
    return nil
  }

  /// Whether no object can be of both: they have different constants under a name that has to be there.
  func excludes(_ other: ObjectKind) -> Bool {
    constants.contains { name, value in
      guard let theirs = other.constants[name], theirs != value else { return false }
      return required.contains(name) || other.required.contains(name)
    }
  }

  /// Whether other values than objects can be of both.
  ///
  /// - Parameter around: the types that values have anyway.
  func shares(_ other: ObjectKind, within around: JSONTypes = .all) -> Bool {
    !types.intersection(other.types).intersection(around).isSubset(of: .object)
  }
}
