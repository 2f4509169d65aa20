public import JSON

/// Finds out what documents have in common, as a schema.
///
/// Takes documents one after the other and keeps statistics of each place in them, never the documents
/// themselves (but for the first few of each place, until it is clear whether they are of several kinds). Its
/// memory is bounded. Not Sendable: use one per thread, and merge them.
public final class SchemaInference {
  private let root = ValueStatistics(depth: 0)
  private var memory = InferenceMemory()

  public init() {}

  /// How many documents were observed.
  public var count: Int { root.count }

  /// Takes note of a document, as JSON text.
  /// - Throws: if it isn't JSON. What was read of it by then stays observed, so don't continue.
  public func observe(_ text: UnsafeRawBufferPointer) throws(JSONError) {
    var reader = StatisticsReader(memory: memory)
    memory = InferenceMemory()
    defer { memory = reader.memory }
    try reader.document(text, root)
  }

  public func observe(_ text: String) throws(JSONError) {
    let bytes = Array(text.utf8)
    var failure: JSONError?
    bytes.withUnsafeBytes { buffer in
      do throws(JSONError) { try observe(buffer) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// Adds what another one has observed. That one must not be used afterwards.
  public func merge(_ other: SchemaInference) {
    root.merge(other.root, &memory)
  }

  /// The schema of what was observed, which accepts all of it.
  public func schema(_ options: InferenceOptions = InferenceOptions()) -> JSONValue {
    decideKinds(root)
    var members: [JSONValue.Member] = [
      .init("$schema", "https://json-schema.org/draft/2020-12/schema")
    ]
    if let title = options.title { members.append(.init("title", .string(title))) }
    let draft = SchemaDrafting(options)
    return .object(members + draft.members(root, evidence: "\(count) documents"))
  }

  /// For places with fewer objects than it takes otherwise.
  private func decideKinds(_ statistics: ValueStatistics) {
    if let objects = statistics.objects {
      var reader = StatisticsReader(memory: memory)
      // They were read before.
      try? objects.decide(&reader)
      memory = reader.memory
      for part in objects.kinds?.all ?? [objects] {
        for field in part.table.fields { decideKinds(field.value) }
        if let rest = part.rest { decideKinds(rest) }
      }
    }
    if let items = statistics.items { decideKinds(items) }
  }
}

/// What kind of schema is wanted.
public struct InferenceOptions: Sendable {
  /// Only what was seen: no other members, values of enumerations, lengths and numbers in round bounds around those
  /// that were seen. Otherwise other members are allowed, and nothing is asked that further documents of
  /// the same kind may well not have.
  public var isStrict: Bool
  /// Adds `$comment`s that say how many documents support it.
  public var withEvidence: Bool
  public var title: String?

  public init(isStrict: Bool = false, withEvidence: Bool = false, title: String? = nil) {
    self.isStrict = isStrict
    self.withEvidence = withEvidence
    self.title = title
  }
}
