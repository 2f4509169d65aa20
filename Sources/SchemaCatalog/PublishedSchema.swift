import Cryptography
public import JSON
public import JSONSchema
public import SchemaDiff

/// A schema as it is published: canonical JSON, which has the same bytes for the same schema.
///
/// Members are in the order of their names' bytes, numbers without superfluous digits, no spaces.
public struct PublishedSchema: Sendable, Equatable {
  public let document: JSONValue
  public let bytes: [UInt8]

  public init(_ document: JSONValue) {
    let text = Canonical.text(document)
    self.document = document
    bytes = Array(text.utf8)
  }

  /// SHA-256 of its bytes, as hexadecimal digits.
  public var hash: String { Self.hash(of: bytes) }

  public static func hash(of bytes: [UInt8]) -> String {
    bytes.withUnsafeBytes { bytes in
      SHA256.withDigest(of: bytes) { digest in
        digest.map { byte in
          let digits = String(byte, radix: 16)
          return byte < 16 ? "0" + digits : digits
        }.joined()
      }
    }
  }

  /// Compiles it by itself: nobody who fetches it has the files beside it.
  public func compiled() throws(SchemaError) -> CompiledSchema {
    try CompiledSchema(document)
  }
}

/// What versions of a name owe to earlier ones.
public struct SchemaPolicy: Sendable, Equatable {
  public var compatibility: SchemaCompatibility
  /// To all earlier versions, not only to the one before.
  public var isTransitive: Bool

  public init(compatibility: SchemaCompatibility = .backward, isTransitive: Bool = false) {
    self.compatibility = compatibility
    self.isTransitive = isTransitive
  }

  public init?(_ bytes: [UInt8]) {
    guard let json = try? JSONValue(parsing: bytes),
      let compatibility = json["compatibility"]?.stringValue.flatMap(
        SchemaCompatibility.init(rawValue:)),
      let isTransitive = json["transitive"]?.boolValue
    else { return nil }
    self.init(compatibility: compatibility, isTransitive: isTransitive)
  }

  public var bytes: [UInt8] {
    let json: JSONValue = [
      "compatibility": .string(compatibility.rawValue), "transitive": .bool(isTransitive),
    ]
    return json.utf8
  }
}

/// The highest number that was ever given to a version of a name: it isn't given again, even if nothing is left of the
/// version.
public struct HighestVersion: Sendable, Equatable {
  public var number: Int

  public init(_ number: Int) { self.number = number }

  public init?(_ bytes: [UInt8]) {
    guard let json = try? JSONValue(parsing: bytes), case .number(let digits)? = json["version"],
      let number = Int(digits), number >= 0
    else { return nil }
    self.number = number
  }

  public var bytes: [UInt8] {
    let json: JSONValue = ["version": .int(number)]
    return json.utf8
  }
}

/// A version that is stored can't be compared with: it is no schema.
public struct StoredVersionError: Error, Sendable {
  public var version: Int
  public var reason: SchemaError
}

/// What is to be done with a schema that somebody wants to publish.
public enum PublishDecision: Sendable {
  /// A version has the same content.
  case isPublished(version: Int)
  case mayPublish(version: Int)
  /// It isn't compatible with a version, or that is not known.
  case refused(SchemaComparison.Verdict, with: [Refusing])

  /// A version that prevents it: what is owed to that, and how the two compare.
  public typealias Refusing = (
    version: Int, compatibility: SchemaCompatibility, comparison: SchemaComparison
  )

  /// - Parameters:
  ///   - versions: those there are, in order. Versions that were deleted are missing.
  ///   - next: the number of the next one.
  ///   - compiled: the schema.
  public init(
    _ schema: PublishedSchema, after versions: [(version: Int, bytes: [UInt8])], next: Int,
    _ policy: SchemaPolicy, compiled: CompiledSchema
  ) throws(StoredVersionError) {
    if let same = versions.last(where: { $0.bytes == schema.bytes }) {
      self = .isPublished(version: same.version)
      return
    }
    var refusing: [Refusing] = []
    var verdict = SchemaComparison.Verdict.compatible
    if policy.compatibility != .none {
      for earlier in policy.isTransitive ? versions : Array(versions.suffix(1)) {
        let old: CompiledSchema
        do {
          old = try CompiledSchema(text: String(decoding: earlier.bytes, as: UTF8.self))
        } catch {
          throw StoredVersionError(version: earlier.version, reason: error)
        }
        let comparison = SchemaComparison(old: old, new: compiled)
        let found = comparison.verdict(for: policy.compatibility)
        guard found != .compatible else { continue }
        refusing.append((earlier.version, policy.compatibility, comparison))
        if verdict != .incompatible { verdict = found }
      }
    }
    self =
      refusing.isEmpty ? .mayPublish(version: next) : .refused(verdict, with: refusing)
  }
}
