public import JSON
import JSONSchema

/// Finds the smallest changes to a schema after which it accepts values that it refuses: each keyword that refuses
/// one gives way as far as that takes, and no further.
///
/// Not every keyword can: `not` says nothing of how far. Values that such a keyword refuses are left to a person, and
/// nothing is changed for them: the schema accepts all others, which the validator has been asked.
public struct SchemaWidening {
  /// A document that the schema consists of.
  public struct Document: Sendable {
    /// For people.
    public var name: String
    /// What it can be requested by, for those that refer to it.
    public var uris: [String]
    public var schema: JSONValue

    public init(name: String, uris: [String], schema: JSONValue) {
      self.name = name
      self.uris = uris
      self.schema = schema
    }
  }

  /// One keyword that gave way.
  public struct Change: Sendable {
    /// Which document it is in, by index.
    public var document: Int
    /// JSON pointer to the keyword, in the document as it was by then.
    public var pointer: String
    /// How, in words.
    public var what: String
    /// Values that it refused.
    public var count: Int
  }

  /// Why values are still refused, and what a person can change.
  public struct Remainder: Sendable, Equatable {
    public var reason: String
    /// How many values.
    public var count: Int
  }

  /// The schema's own document, and the others that it refers to, after the changes.
  public private(set) var documents: [Document]
  public private(set) var changes: [Change] = []
  public private(set) var remainders: [Remainder] = []
  /// How many values the schema accepts.
  public private(set) var accepted = 0

  /// The schema itself.
  public var schema: JSONValue { documents[0].schema }

  /// - Parameter documents: the schema first, then all that it refers to.
  /// - Throws: if the schema, as it is, can't be compiled.
  public init(_ documents: [Document], toAccept values: [JSONValue]) throws(SchemaError) {
    self.documents = documents
    var open = Array(values.indices)
    while !open.isEmpty {
      var attempt = WideningAttempt(documents)
      let left = try attempt.run(values, open)
      if left.isEmpty {
        self.documents = attempt.documents
        changes = attempt.changes
        accepted = open.count
        return
      }
      // What was changed for them alone would be changed for nothing.
      for reason in attempt.reasons {
        if let known = remainders.firstIndex(where: { $0.reason == reason.reason }) {
          remainders[known].count += reason.count
        } else {
          remainders.append(reason)
        }
      }
      open.removeAll { left.contains($0) }
    }
  }

  /// A schema without references to other documents.
  public init(_ schema: JSONValue, toAccept values: [JSONValue]) throws(SchemaError) {
    try self.init([Document(name: "", uris: [""], schema: schema)], toAccept: values)
  }

  /// The schema of documents, of which the first is the schema itself.
  public static func compiled(_ documents: [Document]) throws(SchemaError) -> CompiledSchema {
    var set = SchemaSet()
    for document in documents.dropFirst() {
      for uri in document.uris { set.add(document.schema, uri: uri) }
    }
    return try CompiledSchema(
      documents[0].schema, uri: documents[0].uris.first ?? "", set: set)
  }
}

/// One attempt to make a schema accept all of some values.
struct WideningAttempt {
  typealias Refused = (value: Int, instance: JSONValue, violation: SchemaViolation)

  var documents: [SchemaWidening.Document]
  private(set) var changes: [SchemaWidening.Change] = []
  /// Why the values that are left are refused.
  private(set) var reasons: [SchemaWidening.Remainder] = []

  /// Each round shows what the keywords of the round before have hidden.
  private static let mostRounds = 32

  init(_ documents: [SchemaWidening.Document]) { self.documents = documents }

  /// Returns the values that are still refused.
  mutating func run(_ values: [JSONValue], _ indices: [Int]) throws(SchemaError) -> Set<Int> {
    var left = indices
    for _ in 0..<Self.mostRounds {
      let compiled = try SchemaWidening.compiled(documents)
      var refusals = refusals(of: values, left, by: compiled)
      if refusals.isEmpty {
        // A change for one may refuse another: inside `not` and `if`, more is less.
        refusals = self.refusals(of: values, indices, by: compiled)
        if refusals.isEmpty { return [] }
      }
      left = refusals.values
      if !widen(refusals, compiled) { return Set(left) }
    }
    reasons = [
      SchemaWidening.Remainder(
        reason: "they are still refused after \(Self.mostRounds) rounds of changes",
        count: left.count)
    ]
    return Set(left)
  }

  /// What refuses values, by keyword.
  private struct Refusals {
    var values: [Int] = []
    /// By `absoluteKeywordLocation`.
    var places: [String: [Refused]] = [:]
    var order: [String] = []

    var isEmpty: Bool { values.isEmpty }
  }

  private func refusals(
    of values: [JSONValue], _ indices: [Int], by schema: CompiledSchema
  ) -> Refusals {
    var found = Refusals()
    for index in indices {
      let violations = DecisiveViolations.of(schema.explain(values[index]).violations)
      if !violations.isEmpty { found.values.append(index) }
      for violation in violations {
        let path = JSONPointer.parts(violation.instanceLocation)
        let isName = EvaluationPath.isAboutName(violation.keywordLocation)
        guard
          let instance = isName
            ? path.last.map({ .string($0) }) : JSONPointer.value(at: path[...], in: values[index])
        else { continue }
        let place = violation.absoluteKeywordLocation
        if found.places[place] == nil { found.order.append(place) }
        found.places[place, default: []].append((index, instance, violation))
      }
    }
    return found
  }

  /// False: nothing could give way, and `reasons` says why.
  private mutating func widen(_ refusals: Refusals, _ compiled: CompiledSchema) -> Bool {
    let before = documents
    reasons = []
    for place in refusals.order {
      guard let refused = refusals.places[place], let first = refused.first?.violation else {
        continue
      }
      let count = Set(refused.map(\.value)).count
      do throws(WideningRefusal) {
        guard let source = compiled.source(of: first) else {
          throw WideningRefusal("\(place) can't be found")
        }
        let document = documents.firstIndex { document in
          document.uris.contains { $0.isSame(as: source.document) }
        }
        guard let document else { throw Self.foreign(first) }
        var keyword = KeywordWidening(
          documents[document].schema, at: source.pointer, named: name(document), refused,
          compiled)
        let what = try keyword.widened()
        documents[document].schema = keyword.schema
        let references = compiled.references(to: source.document, source.pointer)
        let shared = references > 1 ? "; \(references) references lead there" : ""
        changes.append(
          SchemaWidening.Change(
            document: document, pointer: source.pointer, what: what + shared, count: count))
      } catch {
        reasons.append(SchemaWidening.Remainder(reason: error.reason, count: count))
      }
    }
    if documents.elementsEqual(before, by: { $0.schema == $1.schema }) {
      if reasons.isEmpty {
        reasons = [
          SchemaWidening.Remainder(
            reason: "they are refused, and no keyword was found that could give way",
            count: refusals.values.count)
        ]
      }
      return false
    }
    return true
  }

  /// How a document is named before a pointer: not at all if it is the schema itself.
  private func name(_ document: Int) -> String { document == 0 ? "" : documents[document].name }

  /// A built-in metaschema.
  private static func foreign(_ violation: SchemaViolation) -> WideningRefusal {
    let place = violation.absoluteKeywordLocation
    let path = JSONPointer.parts(violation.keywordLocation)
    guard let reference = path.lastIndex(where: { ["$ref", "$dynamicRef"].contains($0) }) else {
      return WideningRefusal("\(place) is not in one of the schema's files")
    }
    return WideningRefusal(
      "\(place) is not in one of the schema's files, and can't be changed: let "
        + "\(JSONPointer.text(Array(path[...reference]))) refer to a schema of your own")
  }
}

/// Why a keyword can't give way, and what a person can do.
struct WideningRefusal: Error {
  var reason: String

  init(_ reason: String) { self.reason = reason }
}
