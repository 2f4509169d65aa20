import BSON

/// A stream of the configuration, by its index there.
public struct StreamID: Hashable, Sendable {
  public let index: Int
  public init(_ index: Int) { self.index = index }
}

/// A KV bucket of the configuration, by the index of the stream that it is.
public struct BucketID: Hashable, Sendable {
  public let index: Int
  public init(_ index: Int) { self.index = index }
}

/// Where a rule's messages go.
public enum Route: Hashable, Sendable {
  /// Stored in a stream, exactly once and in order.
  case stream(StreamID)
  /// Stored in a bucket: a put a message, a delete purges its key. A bucket is a stream underneath.
  case keyValue(BucketID)
  /// Published to whoever listens, and stored nowhere: at most once, and never late.
  case core

  /// The stream that holds the messages, as an index into the configuration's; nil: none does.
  public var streamIndex: Int? {
    switch self {
    case .stream(let stream): stream.index
    case .keyValue(let bucket): bucket.index
    case .core: nil
    }
  }

  /// The same in a configuration where that stream has another index.
  public func moved(to index: Int) -> Route {
    switch self {
    case .stream: .stream(StreamID(index))
    case .keyValue: .keyValue(BucketID(index))
    case .core: .core
    }
  }

  package var isBucket: Bool { if case .keyValue = self { true } else { false } }
}

/// Keys of KV buckets: subjects of a smaller alphabet.
public enum KeyTemplate {
  /// What the subjects of a bucket's entries begin with.
  public static func prefix(bucket: String) -> String { "$KV.\(bucket)." }
}

extension Template {
  /// The subject of a bucket's entry by a template of its key: tokens between dots, of letters, digits,
  /// `-`, `_`, `/`, `=` and values, in which all other bytes are escaped (`=2E`).
  public init(key text: String, bucket: String) throws(RuleSyntaxError) {
    let parts = try Self.split(text)
    try Self.checkKey(parts)
    var pieces: [Piece] = [.literal(KeyTemplate.prefix(bucket: bucket))]
    for part in parts {
      switch part {
      case .literal(let literal, _): pieces.append(.literal(literal))
      case .placeholder(let path, let at): pieces.append(.path(try Self.scalarPath(path, at: at)))
      }
    }
    self.init(text: KeyTemplate.prefix(bucket: bucket) + text, pieces: pieces)
  }

  private static func checkKey(_ parts: [TemplatePart]) throws(RuleSyntaxError) {
    guard parts.contains(where: { if case .placeholder = $0 { true } else { false } }) else {
      throw RuleSyntaxError(
        "the key is the same for every event",
        remedy: "name a value, such as {documentKey._id}", at: 0)
    }
    var isEmpty = true
    var end = 0
    for part in parts {
      switch part {
      case .placeholder(let path, let at):
        isEmpty = false
        end = at + path.unicodeScalars.count + 1
      case .literal(let literal, let at):
        end = at + literal.unicodeScalars.count
        for (n, scalar) in literal.unicodeScalars.enumerated() {
          if scalar == "." {
            if isEmpty {
              throw RuleSyntaxError(
                "the key has an empty token", remedy: "put a name or a {path} before the dot",
                at: at + n)
            }
            isEmpty = true
            continue
          }
          guard scalar.isASCII, staysInKey(UInt8(scalar.value)) || scalar == "=" else {
            throw RuleSyntaxError(
              "a key can't hold \(describe(scalar))",
              remedy: "use letters, digits, - _ / and =, with dots between tokens", at: at + n)
          }
          isEmpty = false
        }
      }
    }
    if case .literal(let text, _)? = parts.first, text.hasPrefix("_kv") {
      throw RuleSyntaxError(
        "keys that begin with _kv belong to NATS", remedy: "begin with another name", at: 0)
    }
    if isEmpty {
      throw RuleSyntaxError(
        "the key ends with a dot", remedy: "put a name or a {path} after it", at: end - 1)
    }
  }
}

/// A value as one token of a key, and back. For cold paths; the mapper has its own.
public enum KeyToken {
  public static func escape(_ value: String) -> String {
    var writer = ByteWriter(capacity: 64)
    writer.append(value, escapedFor: .key)
    return String(decoding: writer.bytes, as: UTF8.self)
  }
}
