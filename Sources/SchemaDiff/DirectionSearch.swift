import JSON
import JSONSchema

/// Takes the reader's schema apart and asks of each part whether something that the writer's schema accepts
/// breaks it.
struct DirectionSearch {
  private let writer: CompiledSchema
  private let reader: CompiledSchema
  private let readerSide: Side
  private let writerSide: Side
  private let solver: Solver
  private let written: Literal
  private var result = SchemaComparison.Direction()
  /// Classes of the schemas that the search is within.
  private var path: [Int] = []
  private var questions = 0
  /// How often a rule was found, or one that is left for the end.
  private var found = 0
  private var edges: [Edge] = []

  /// A schema within itself. It is broken where it is broken below itself, if it is: that is known in the end.
  private struct Edge {
    var schema: SchemaKey
    var part: SchemaPart
    var literal: Literal
    var place: String
    var anyway: Answer
  }
  /// What each schema of the writer's version says, part by part.
  private var writerParts: [Set<Literal>] = []

  /// Beyond this, whole subschemas are judged without looking for the rule.
  private static let mostQuestions = 4_000
  private static let mostBranches = 24
  /// So many parts of alternatives are each asked about, known or not.
  private static let mostAlternativeParts = 60

  init(writer: CompiledSchema, reader: CompiledSchema, readerSide: Side, _ builder: TermBuilder) {
    self.writer = writer
    self.reader = reader
    self.readerSide = readerSide
    solver = Solver(builder)
    let writerSide: Side = readerSide == .new ? .old : .new
    self.writerSide = writerSide
    written = solver.builder.literal(solver.builder.classes.root(writerSide))
  }

  mutating func run() -> SchemaComparison.Direction {
    let root = solver.builder.classes.root(readerSide)
    if case .none = search(solver.builder.literal(root), assumesDeclared: false) {
      return result
    }
    walk(root, "") { $0 }
    for edge in edges where !isExplained(edge.schema) {
      judge(edge.part, edge.literal, edge.place, edge.anyway)
    }
    if result.differences.isEmpty, result.caveats.isEmpty, result.doubts.isEmpty {
      result.doubts.append(
        .init(pointer: "", instance: "", reason: "the whole is undecided, its parts are not"))
    }
    return result
  }

  /// A value that the writer's schema accepts, and for which a literal doesn't hold.
  private mutating func search(_ literal: Literal, assumesDeclared: Bool) -> Answer {
    questions += 1
    return solver.search(
      Goal(writer: [written], reader: [!literal], said: assumesDeclared ? [written] : []),
      assumesDeclared: assumesDeclared)
  }

  private mutating func walk(
    _ key: SchemaKey, _ instance: String, _ wrap: @escaping (Literal) -> Literal
  ) {
    path.append(solver.builder.classes[key])
    for part in solver.parts(key) { examine(part, instance, wrap) }
    path.removeLast()
  }

  private mutating func examine(
    _ part: SchemaPart, _ instance: String, _ wrap: @escaping (Literal) -> Literal
  ) {
    let place = instance + part.steps
    let literal = wrap(solver.literal(part))
    let anyway = search(literal, assumesDeclared: false)
    if case .none = anyway { return }
    if case .subschema(let schema, let embed) = part.content,
      questions < Self.mostQuestions,
      !path.contains(solver.builder.classes[schema])
    {
      let before = found
      walk(schema, place) { wrap(embed($0)) }
      // Nothing in it does it alone.
      if found == before { judge(part, literal, place, anyway) }
      return
    }
    if case .subschema(let schema, _) = part.content {
      found += 1
      edges.append(
        Edge(schema: schema, part: part, literal: literal, place: place, anyway: anyway))
      return
    }
    if refine(part, literal, place, wrap) { return }
    judge(part, literal, place, anyway)
  }

  /// Whether a rule in the schema is reported already.
  private func isExplained(_ schema: SchemaKey) -> Bool {
    let start = solver.pointer(schema)
    let pointers =
      result.differences.map(\.pointer) + result.caveats.map(\.pointer)
      + result.doubts.map(\.pointer)
    return pointers.contains { $0 == start || $0.hasPrefix(start + "/") }
  }

  private mutating func judge(
    _ part: SchemaPart, _ literal: Literal, _ place: String, _ anyway: Answer
  ) {
    switch search(literal, assumesDeclared: true) {
    case .found(let value), .guess(let value, _):
      guard isProved(value) else {
        return doubt(part, place, "a value that should prove it doesn't")
      }
      add(part, place, value, \.differences)
    case .undecided(let reason): doubt(part, place, reason)
    case .none:
      switch anyway {
      case .found(let value), .guess(let value, _):
        guard isProved(value) else {
          return doubt(part, place, "a value that should prove it doesn't")
        }
        add(part, place, value, \.caveats)
      case .undecided(let reason): doubt(part, place, reason)
      case .none: break
      }
    }
  }

  /// Asks both schemas.
  private func isProved(_ value: JSONValue) -> Bool {
    writer.explain(value).isValid && !reader.explain(value).isValid
  }

  private mutating func add(
    _ part: SchemaPart, _ place: String, _ value: JSONValue,
    _ list: WritableKeyPath<SchemaComparison.Direction, [SchemaComparison.Difference]>
  ) {
    found += 1
    let message = RuleSentence.message(part, readerSide, solver)
    let known = result[keyPath: list].contains {
      $0.pointer == part.pointer && $0.message == message
    }
    guard !known else { return }
    result[keyPath: list].append(
      SchemaComparison.Difference(
        pointer: part.pointer, instance: place, message: message, witness: value))
  }

  private mutating func doubt(_ part: SchemaPart, _ place: String, _ reason: String) {
    found += 1
    result.doubts.append(.init(pointer: part.pointer, instance: place, reason: reason))
  }

  // MARK: Alternatives

  /// For what breaks all alternatives: the rule of one of them that alone is broken, all its others being
  /// fulfilled. False: there is none.
  private mutating func refine(
    _ part: SchemaPart, _ literal: Literal, _ place: String,
    _ wrap: @escaping (Literal) -> Literal
  ) -> Bool {
    guard case .rule = part.content, part.keyword == "anyOf" || part.keyword == "oneOf",
      let branches = branches(part), branches.count <= Self.mostBranches
    else { return false }
    // What the writer's version of an alternative has, too, is hardly in the way.
    return refine(part, branches, literal, place, wrap, skippingKnown: true)
      || refine(part, branches, literal, place, wrap, skippingKnown: false)
  }

  private mutating func refine(
    _ part: SchemaPart, _ branches: [SchemaKey], _ literal: Literal, _ place: String,
    _ wrap: @escaping (Literal) -> Literal, skippingKnown: Bool
  ) -> Bool {
    var attempt = self
    attempt.result = SchemaComparison.Direction()
    attempt.edges = []
    let own = solver.literal(part)
    for branch in branches {
      let parts = solver.parts(branch)
      guard parts.count > 1 else { continue }
      let literals = parts.map { solver.literal($0) }
      let known = skippingKnown ? counterpart(of: Set(literals)) : []
      for (index, inner) in parts.enumerated() {
        guard skippingKnown || branches.count * parts.count <= Self.mostAlternativeParts,
          attempt.questions < Self.mostQuestions
        else { return false }
        if known.contains(literals[index]) { continue }
        let rest = literals.indices.filter { $0 != index }.map { !literals[$0] }
        attempt.examine(inner, place) { [solver] in
          wrap(solver.builder.table.any([own] + rest + [$0]))
        }
      }
    }
    questions = attempt.questions
    let told = attempt.result
    guard !told.differences.isEmpty || !told.caveats.isEmpty, told.doubts.isEmpty else {
      return false
    }
    // Only if the parts say as much as the whole.
    if told.differences.isEmpty,
      case .found = search(literal, assumesDeclared: true)
    {
      return false
    }
    result.differences += told.differences
    result.caveats += told.caveats
    edges += attempt.edges
    found += 1
    return true
  }

  /// The parts of the writer's schema that has most of these.
  private mutating func counterpart(of literals: Set<Literal>) -> Set<Literal> {
    if writerParts.isEmpty {
      for key in solver.builder.classes.keys(writerSide) {
        writerParts.append(Set(solver.parts(key).map { solver.literal($0) }))
      }
    }
    return writerParts.max {
      $0.intersection(literals).count < $1.intersection(literals).count
    }?.intersection(literals) ?? []
  }

  private func branches(_ part: SchemaPart) -> [SchemaKey]? {
    let classes = solver.builder.classes
    guard case .keywords(let keywords)? = classes.node(part.schema)?.content else { return nil }
    for (name, keyword) in keywords where name == part.keyword {
      switch keyword {
      case .anyOf(let schemas), .oneOf(let schemas):
        return schemas.map { classes.below(part.schema, $0) }
      default: return nil
      }
    }
    return nil
  }
}
