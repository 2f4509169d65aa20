import ArgumentParser
import BSON
import JSON
import JSONSchema
import MongoSource
import SchemaInference
import Synchronization

/// A collection whose documents a schema is inferred from, and its own validator.
struct CollectionContract {
  private let options: MongoSourceOptions
  private let database: String
  private let collection: String
  private let style: JSONStyle
  /// The sample; nil: the whole collection is read, each time.
  private let documents: [[UInt8]]?
  /// The `$jsonSchema`, as JSON.
  private let validator: JSONValue?
  /// The same with the types of its values.
  private let typed: JSONValue?
  /// What its validator has beside that.
  private let conditions: [String]

  /// - Parameters:
  ///   - collection: `database.collection`.
  ///   - sample: how many documents; nil: all.
  init(_ uri: String, _ collection: String, sample: Int?, _ style: JSONStyle) async throws {
    let parts = collection.split(separator: ".", maxSplits: 1).map(String.init)
    let options = MongoSourceOptions(uri: uri, readConcernMajority: false)
    let (database, name) = (parts[0], parts[1])
    self.options = options
    self.database = database
    self.collection = name
    self.style = style
    let found = try await Self.ask { () throws(MongoError) in
      let described = try await MongoAdmin.survey(options, database: database, collection: name)
      guard let sample else { return (described, nil as [[UInt8]]?) }
      return (
        described,
        try await MongoAdmin.sample(options, database: database, collection: name, count: sample)
      )
    }
    documents = found.1
    validator = found.0?.validator.flatMap { Self.json($0, style) }
    typed = found.0?.validator.flatMap { Self.json($0, .relaxed) }
    conditions = found.0?.conditions ?? []
  }

  private static func ask<T>(_ question: () async throws(MongoError) -> T) async throws -> T {
    do {
      return try await question()
    } catch {
      printError(MongoError.words(of: error))
      throw ExitCode(error.isTransient ? 69 : 78)
    }
  }

  private static func json(_ document: [UInt8], _ style: JSONStyle) -> JSONValue? {
    var text = ByteWriter(capacity: 1024)
    return document.withUnsafeBytes { bytes in
      guard let view = try? BSONView(bytes) else { return nil }
      // A validator that JSON can't hold asks for nothing here.
      guard (try? text.appendJSON(view, style: style)) != nil else { return nil }
      return try? JSONValue(parsing: String(decoding: text.bytes, as: UTF8.self))
    }
  }

  /// Hands out the documents.
  func read(_ intake: DocumentIntake) async throws {
    let place = "\(database).\(collection)"
    try await each { intake.take(bson: $0, orNote: place) }
  }

  private func each(_ take: @escaping @Sendable (UnsafeRawBufferPointer) -> Bool) async throws {
    guard let documents else {
      return try await Self.ask { () throws(MongoError) in
        try await MongoAdmin.documents(
          options, database: database, collection: collection, take)
      }
    }
    for document in documents {
      guard document.withUnsafeBytes({ take($0) }) else { return }
    }
  }

  /// The schema with what the validator asks for and no document breaks.
  func merged(into inferred: JSONValue) async throws -> (schema: JSONValue, leftOut: [String]) {
    var leftOut: [String] = []
    if !conditions.isEmpty {
      leftOut.append(
        "the collection's validator has conditions beside $jsonSchema, which are not taken over: "
          + conditions.joined(separator: ", "))
    }
    guard let validator else { return (inferred, leftOut) }
    var merge = ValidatorMerge(
      inferred, validator, typed: typed, isSimplified: style == .simplified)
    while merge.schema != inferred {
      guard let compiled = try? CompiledSchema(merge.schema, options: SchemaOptions(style: style))
      else { return (inferred, leftOut + ["the collection's validator can't be merged"]) }
      let broken = BrokenKeywords(compiled, of: merge.schema, style)
      try await each { broken.take($0) }
      if broken.places.isEmpty { break }
      var isProgress = false
      for place in broken.places {
        let missing = broken.missing[place] ?? []
        if merge.withdraw(place, missing: { missing.contains($0) }) { isProgress = true }
      }
      // The inference accepts all that it has seen; of a whole collection, documents may have come meanwhile.
      if !isProgress { break }
    }
    return (merge.finished, leftOut + merge.leftOut)
  }
}

/// Which keywords documents break.
///
/// Sendable invariant: one reader at a time uses it, and the command only after the reader has ended.
private final class BrokenKeywords: @unchecked Sendable {
  private(set) var places: Set<String> = []
  /// By place of a `required`: names that a document lacks.
  private(set) var missing: [String: Set<String>] = [:]
  private let validator: SchemaValidator
  private let compiled: CompiledSchema
  private let schema: JSONValue
  private let style: JSONStyle
  private var text = ByteWriter(capacity: 4096)
  private var count = 0

  /// After so many documents that break something, that is withdrawn first.
  private static let most = 1_000

  init(_ compiled: CompiledSchema, of schema: JSONValue, _ style: JSONStyle) {
    self.compiled = compiled
    self.schema = schema
    self.style = style
    validator = SchemaValidator(compiled)
  }

  func take(_ document: UnsafeRawBufferPointer) -> Bool {
    guard let view = try? BSONView(document), !validator.validate(view) else { return true }
    text.removeAll()
    guard (try? text.appendJSON(view, style: style)) != nil,
      let value = try? JSONValue(parsing: String(decoding: text.bytes, as: UTF8.self))
    else { return true }
    count += 1
    for violation in compiled.explain(value).violations {
      let place = violation.keywordLocation
      places.insert(place)
      guard place.hasSuffix("/required") else { continue }
      missing[place, default: []].formUnion(
        ValidatorMerge.missing(
          by: place, of: schema, at: violation.instanceLocation, in: value))
    }
    return count < Self.most
  }
}
