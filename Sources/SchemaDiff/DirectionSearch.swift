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
  private var told: [Told] = []

  /// What a rule says that was told, or that is left for the end: then there is no witness yet.
  private struct Told {
    var literal: Literal
    var witness: JSONValue?
  }

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
  /// So many alternatives that only the writer's version has are each asked about.
  private static let mostNewBranches = 256

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
    let whole = search(solver.builder.literal(root), assumesDeclared: false)
    if case .none = whole { return result }
    walk(root, "") { $0 }
    for edge in edges where !isExplained(edge.schema) {
      judge(edge.part, edge.literal, edge.place, edge.anyway)
    }
    // If no part can be broken, the whole can't be, whether it was decided or not.
    if case .undecided = whole { return result }
    if result.differences.isEmpty, result.caveats.isEmpty, result.doubts.isEmpty {
      result.doubts.append(
        .init(pointer: "", instance: "", reason: "a value breaks the whole, and none of its parts"))
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
      told.append(Told(literal: literal))
      edges.append(
        Edge(schema: schema, part: part, literal: literal, place: place, anyway: anyway))
      return
    }
    if let branches = branches(part) {
      return examine(branches, part, literal, place, anyway, wrap)
    }
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

  /// What a question about a part came to.
  private enum Finding {
    case difference(JSONValue)
    case caveat(JSONValue)
    case doubt(String)
    case nothing
  }

  private mutating func judge(
    _ part: SchemaPart, _ literal: Literal, _ place: String, _ anyway: Answer
  ) {
    let finding = finding(literal, anyway)
    if case .doubt(let reason) = finding { return doubt(part, place, reason) }
    tell(finding, part, literal, place)
  }

  private mutating func finding(_ literal: Literal, _ anyway: Answer) -> Finding {
    func proved(_ value: JSONValue, _ finding: Finding) -> Finding {
      isProved(value) ? finding : .doubt("a value that should prove it doesn't")
    }
    switch search(literal, assumesDeclared: true) {
    case .found(let value), .guess(let value, _): return proved(value, .difference(value))
    case .undecided(let reason): return .doubt(reason)
    case .none:
      switch anyway {
      case .found(let value), .guess(let value, _): return proved(value, .caveat(value))
      case .undecided(let reason): return .doubt(reason)
      case .none: return .nothing
      }
    }
  }

  /// - Parameter branch: the writer's alternative that the value is of.
  private mutating func tell(
    _ finding: Finding, _ part: SchemaPart, _ literal: Literal, _ place: String,
    branch: SchemaKey? = nil
  ) {
    switch finding {
    case .difference(let value):
      add(part, place, value, branch, \.differences)
      told.append(Told(literal: literal, witness: value))
    case .caveat(let value):
      add(part, place, value, branch, \.caveats)
      told.append(Told(literal: literal, witness: value))
    case .doubt, .nothing: break
    }
  }

  /// Asks both schemas.
  private func isProved(_ value: JSONValue) -> Bool {
    writer.explain(value).isValid && !reader.explain(value).isValid
  }

  private mutating func add(
    _ part: SchemaPart, _ place: String, _ value: JSONValue, _ branch: SchemaKey?,
    _ list: WritableKeyPath<SchemaComparison.Direction, [SchemaComparison.Difference]>
  ) {
    found += 1
    let message = RuleSentence.message(part, readerSide, branch, solver)
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

  /// What breaks all alternatives: the rules that alone prevent one of them; then the alternatives that only the
  /// writer's version has; then whatever else there is.
  private mutating func examine(
    _ branches: [SchemaKey], _ part: SchemaPart, _ literal: Literal, _ place: String,
    _ anyway: Answer, _ wrap: @escaping (Literal) -> Literal
  ) {
    let before = told.count
    if branches.count <= Self.mostBranches {
      // What the writer's version of an alternative has, too, is hardly in the way.
      _ =
        refine(part, branches, literal, place, wrap, skippingKnown: true)
        || refine(part, branches, literal, place, wrap, skippingKnown: false)
    }
    let own = solver.literal(part)
    for branch in newBranches(than: branches, part) {
      let isOther = !solver.builder.literal(branch)
      let asked = wrap(solver.builder.table.any([own, isOther]))
      let isToldAlready = told[before...].contains { each in
        each.witness.map { solver.holds(asked, $0) == false } ?? false
      }
      if isToldAlready || questions >= Self.mostQuestions { continue }
      let anyway = search(asked, assumesDeclared: false)
      tell(finding(asked, anyway), part, asked, place, branch: branch)
    }
    guard told.count > before else { return judge(part, literal, place, anyway) }
    let rest = solver.builder.table.any([literal] + told[before...].map { !$0.literal })
    let left = search(rest, assumesDeclared: false)
    if case .none = left { return }
    judge(part, rest, place, left)
  }

  /// The alternatives in the same place of the writer's version that the reader's doesn't have.
  private func newBranches(than branches: [SchemaKey], _ part: SchemaPart) -> [SchemaKey] {
    let classes = solver.builder.classes
    let known = Set(branches.map { classes[$0] })
    guard let counterpart = classes.counterpart(of: part.schema, on: writerSide) else { return [] }
    var new: [SchemaKey] = []
    for keyword in ["anyOf", "oneOf"] {
      new += self.branches(of: counterpart, keyword) ?? []
    }
    return Array(new.filter { !known.contains(classes[$0]) }.prefix(Self.mostNewBranches))
  }

  /// For what breaks all alternatives: the rules of single ones that alone are broken, all their others being fulfilled.
  /// False: there is none.
  private mutating func refine(
    _ part: SchemaPart, _ branches: [SchemaKey], _ literal: Literal, _ place: String,
    _ wrap: @escaping (Literal) -> Literal, skippingKnown: Bool
  ) -> Bool {
    var attempt = self
    attempt.result = SchemaComparison.Direction()
    attempt.edges = []
    attempt.told = []
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
    let found = attempt.result
    guard !found.differences.isEmpty || !found.caveats.isEmpty, found.doubts.isEmpty else {
      return false
    }
    // Only if the parts say as much as the whole.
    if found.differences.isEmpty {
      guard case .none = search(literal, assumesDeclared: true) else { return false }
    }
    result.differences += found.differences
    result.caveats += found.caveats
    edges += attempt.edges
    told += attempt.told
    self.found += 1
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
    guard case .rule = part.content, part.keyword == "anyOf" || part.keyword == "oneOf" else {
      return nil
    }
    return branches(of: part.schema, part.keyword)
  }

  private func branches(of key: SchemaKey, _ keyword: String) -> [SchemaKey]? {
    let classes = solver.builder.classes
    guard case .keywords(let keywords)? = classes.node(key)?.content else { return nil }
    for (name, found) in keywords where name == keyword {
      switch found {
      case .anyOf(let schemas), .oneOf(let schemas):
        return schemas.map { classes.below(key, $0) }
      default: return nil
      }
    }
    return nil
  }
}
