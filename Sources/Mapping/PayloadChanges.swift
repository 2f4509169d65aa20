/// How a value is replaced that nobody downstream may see.
public enum Redaction: String, Sendable, CaseIterable {
  /// An HMAC of it: equal values stay equal, and nothing else is revealed.
  case hash
  /// `"***"`.
  case mask
  /// It is left out, like by `exclude`.
  case drop
}

/// How a payload differs from the event, besides the filter: `rename`, `redact` and `set` of a
/// rule.
///
/// Paths are those of `PayloadFilter`, and mean updates too: what is renamed or redacted in documents
/// is so in `updatedFields`, `removedFields` and `truncatedArrays`, whether the update is of the field
/// itself, of something in it, or of a document around it. A redaction of a field of `fullDocument`
/// covers the same field of `documentKey`.
public struct PayloadChanges: Sendable, Equatable {
  public struct Rename: Sendable, Equatable {
    public var path: PayloadFilter.Path
    /// The key's new name, in the same place.
    public var name: String
    public init(path: PayloadFilter.Path, name: String) {
      self.path = path
      self.name = name
    }
  }

  public struct Redacted: Sendable, Equatable {
    public var path: PayloadFilter.Path
    public var redaction: Redaction
    public init(path: PayloadFilter.Path, redaction: Redaction) {
      self.path = path
      self.redaction = redaction
    }
  }

  /// A member that every body gets.
  public struct Constant: Sendable, Equatable {
    public var name: String
    /// Its value as JSON.
    public var json: String
    public init(name: String, json: String) {
      self.name = name
      self.json = json
    }
  }

  public var renames: [Rename]
  public var redactions: [Redacted]
  public var constants: [Constant]

  public static let none = PayloadChanges()

  public init(
    renames: [Rename] = [], redactions: [Redacted] = [], constants: [Constant] = []
  ) {
    self.renames = renames
    self.redactions = redactions
    self.constants = constants
  }

  /// The body consists of the event's unchanged documents.
  public var isEmpty: Bool { renames.isEmpty && redactions.isEmpty && constants.isEmpty }

  /// The dropped paths, which are excluded.
  public var dropped: [PayloadFilter.Path] {
    redactions.filter { $0.redaction == .drop }.map(\.path)
  }

  /// One change at one path.
  struct Change {
    enum Action {
      case rename(String)
      case redact(Redaction)
    }
    var segments: [String]
    var action: Action
  }

  /// With the paths that a path into `fullDocument` means besides.
  var all: [Change] {
    let renames = renames.flatMap { rename in
      Self.meanings(rename.path.segments).map {
        Change(segments: $0, action: .rename(rename.name))
      }
    }
    let redactions = redactions.filter { $0.redaction != .drop }.flatMap { redacted in
      Self.redacted(by: redacted.path.segments).map {
        Change(segments: $0, action: .redact(redacted.redaction))
      }
    }
    return renames + redactions
  }

  static func redacted(by segments: [String]) -> [[String]] {
    let key = segments.first == "fullDocument" ? [["documentKey"] + segments.dropFirst()] : []
    return meanings(segments) + key
  }

  private static func meanings(_ segments: [String]) -> [[String]] {
    guard segments.first == "fullDocument" else { return [segments] }
    return [segments, PayloadFilter.mirrored(segments), PayloadFilter.beforeChange(segments)]
  }
}
