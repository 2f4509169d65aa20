import JSON
import JSONSchema

/// How two versions of a schema differ in what they accept.
///
/// Every difference comes with a witness, a value that one version accepts and the other one refuses; both were
/// asked. What could not be decided is said, not guessed.
public struct SchemaComparison: Sendable {
  /// Whether what was written by the old version is accepted by the new one.
  public let backward: Direction
  /// Whether what is written by the new version is accepted by the old one.
  public let forward: Direction

  public enum Verdict: String, Sendable, CaseIterable { case compatible, incompatible, undecided }

  /// One way of reading: all that a writer's version accepts, by a reader's version.
  public struct Direction: Sendable {
    public internal(set) var differences: [Difference] = []
    /// Values that are refused only for members that their writer's schema doesn't declare, while the
    /// reader's does: of the usual addition of an optional property to an open model.
    public internal(set) var caveats: [Difference] = []
    public internal(set) var doubts: [Doubt] = []

    public var verdict: Verdict {
      differences.isEmpty ? doubts.isEmpty ? .compatible : .undecided : .incompatible
    }

    /// The verdict if undeclared members count as what writers may write.
    public var strictVerdict: Verdict {
      caveats.isEmpty || verdict == .incompatible ? verdict : .incompatible
    }
  }

  /// A rule of the reader's schema that values of the writer's schema break.
  public struct Difference: Sendable, Equatable {
    /// JSON pointer of the rule in the reader's schema (the new one for `backward`, the old one for
    /// `forward`), with a URI before it if it is in another document.
    public var pointer: String
    /// JSON pointer of the place in values; `*` stands for any item or member.
    public var instance: String
    /// A sentence: what is asked, and what the other version asks at the same place.
    public var message: String
    /// Accepted by the writer's schema, refused by the reader's.
    public var witness: JSONValue
  }

  /// A rule for which it is not known whether it refuses anything that the writer's schema accepts.
  public struct Doubt: Sendable, Equatable {
    public var pointer: String
    public var instance: String
    public var reason: String
  }

  /// Compares two schemas, which have to be compiled with the same options.
  public init(old: CompiledSchema, new: CompiledSchema) {
    let classes = SchemaClasses(old: old.model, new: new.model)
    var backward = DirectionSearch(
      writer: old, reader: new, readerSide: .new, TermBuilder(classes))
    var forward = DirectionSearch(writer: new, reader: old, readerSide: .old, TermBuilder(classes))
    self.backward = backward.run()
    self.forward = forward.run()
  }
}
