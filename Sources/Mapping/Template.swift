import BSON
import Oplog

/// Text with `{path}` placeholders, for a subject or a message id.
public struct Template: Sendable, Equatable, CustomStringConvertible {
  public enum Piece: Sendable, Equatable {
    case literal(String)
    case path(EventPath)
  }

  /// As it was written.
  public let text: String
  public let pieces: [Piece]

  /// A subject: tokens between dots, each literal text, a value, or both (`room-{fullDocument.rid}`).
  /// A template that can't work for any event is an error.
  public init(subject text: String) throws(RuleSyntaxError) {
    let parts = try Self.split(text)
    try Self.checkSubject(parts, whole: text)
    var pieces: [Piece] = []
    for part in parts {
      switch part {
      case .literal(let literal, _): pieces.append(.literal(literal))
      case .placeholder(let path, let at): pieces.append(.path(try Self.scalarPath(path, at: at)))
      }
    }
    self.text = text
    self.pieces = pieces
  }

  /// A message id: literal text and values, all in header-safe characters.
  public init(id text: String) throws(RuleSyntaxError) {
    let parts = try Self.split(text)
    guard !parts.isEmpty else {
      throw RuleSyntaxError(
        "the id is empty",
        remedy: "write positional, or a template such as {documentKey._id}.created",
        at: 0)
    }
    var pieces: [Piece] = []
    for part in parts {
      switch part {
      case .literal(let literal, let at):
        for (n, scalar) in literal.unicodeScalars.enumerated()
        where !scalar.isASCII || !staysInHeader(UInt8(scalar.value)) {
          throw RuleSyntaxError(
            "an id can't hold \(describe(scalar))",
            remedy: "use printable ASCII other than space, \" and %", at: at + n)
        }
        pieces.append(.literal(literal))
      case .placeholder(let path, let at): pieces.append(.path(try Self.scalarPath(path, at: at)))
      }
    }
    guard parts.contains(where: { if case .placeholder = $0 { true } else { false } }) else {
      throw RuleSyntaxError(
        "the id \(text) is the same for every event",
        remedy: "write positional, or name a value such as {documentKey._id}", at: 0)
    }
    self.text = text
    self.pieces = pieces
  }

  public var description: String { text }

  public var paths: [EventPath] {
    pieces.compactMap { if case .path(let path) = $0 { path } else { nil } }
  }

  /// The first path that no operation of the set can fill; then the template can never be used.
  /// Updates have a full document where the rule asks for it.
  public func impossiblePath(
    for operations: OperationSet, updatesHaveDocuments: Bool = false
  ) -> EventPath? {
    paths.first { path in
      if path.field == .fullDocument, updatesHaveDocuments, operations.contains(.update) {
        return false
      }
      return operations.isDisjoint(with: path.field.operations)
    }
  }

  init(text: String, pieces: [Piece]) {
    self.text = text
    self.pieces = pieces
  }

  /// Values of that field are left open, each marked.
  package func leavingOpen(_ field: EventField, mark: String) -> Template {
    Template(
      text: text,
      pieces: pieces.map { piece in
        guard case .path(let path) = piece, path.field == field else { return piece }
        return .literal(mark)
      })
  }

  static func scalarPath(_ text: String, at: Int) throws(RuleSyntaxError) -> EventPath {
    let path = try EventPath(parsing: text, offset: at)
    if path.field.isDocument, path.remainder.isEmpty {
      let example = path.field == .updateDescription ? "updatedFields.status" : "_id"
      throw RuleSyntaxError(
        "\(text) is a document, not a single value",
        remedy: "name a field in it, such as \(text).\(path.field == .lsid ? "id" : example)",
        at: at)
    }
    return path
  }
}

// MARK: - Reading

/// A piece with where it starts; a placeholder's offset is that of the path within its braces.
enum TemplatePart {
  case literal(String, Int)
  case placeholder(String, Int)
}

extension Template {
  /// Text and placeholders in turn.
  static func split(_ text: String) throws(RuleSyntaxError) -> [TemplatePart] {
    var parts: [TemplatePart] = []
    var current = ""
    var start = 0
    var open: Int? = nil
    for (n, scalar) in text.unicodeScalars.enumerated() {
      switch (scalar, open) {
      case ("{", nil):
        if !current.isEmpty { parts.append(.literal(current, start)) }
        current = ""
        open = n
      case ("{", .some(let at)):
        throw RuleSyntaxError(
          "a { inside the placeholder that opens at character \(at + 1)",
          remedy: "close the first with } before the next", at: n)
      case ("}", nil):
        throw RuleSyntaxError(
          "a } without its {", remedy: "write {path}, such as {documentKey._id}", at: n)
      case ("}", .some(let at)):
        parts.append(.placeholder(current, at + 1))
        current = ""
        start = n + 1
        open = nil
      default: current.unicodeScalars.append(scalar)
      }
    }
    if let open {
      throw RuleSyntaxError(
        "a { without its }", remedy: "write {path}, such as {documentKey._id}", at: open)
    }
    if !current.isEmpty { parts.append(.literal(current, start)) }
    return parts
  }

  /// The literal text: no wildcards, white space or empty tokens. A placeholder never is empty.
  static func checkSubject(_ parts: [TemplatePart], whole: String) throws(RuleSyntaxError) {
    guard !parts.isEmpty else {
      throw RuleSyntaxError(
        "the subject is empty", remedy: "write one such as chat.{documentKey._id}.created", at: 0)
    }
    if whole.hasPrefix("$") {
      throw RuleSyntaxError(
        "subjects that start with $ belong to the server", remedy: "begin with a name of your own",
        at: 0)
    }
    var tokenIsEmpty = true
    var end = 0
    for part in parts {
      switch part {
      case .placeholder(let path, let at):
        tokenIsEmpty = false
        end = at + path.unicodeScalars.count + 1
      case .literal(let literal, let at):
        end = at + literal.unicodeScalars.count
        for (n, scalar) in literal.unicodeScalars.enumerated() {
          if scalar == "." {
            if tokenIsEmpty {
              throw RuleSyntaxError(
                at + n == 0 ? "the subject starts with a dot" : "the subject has an empty token",
                remedy: "put a name or a {path} before the dot", at: at + n)
            }
            tokenIsEmpty = true
            continue
          }
          guard scalar.isASCII, scalar.value > 0x20, scalar.value < 0x7F, scalar != "*",
            scalar != ">", scalar != "%"
          else {
            throw RuleSyntaxError(
              "a subject can't hold \(describe(scalar))",
              remedy: "use printable ASCII other than space, *, > and %", at: at + n)
          }
          tokenIsEmpty = false
        }
      }
    }
    let literals = parts.reduce(0) { sum, part in
      if case .literal(let text, _) = part { sum + text.utf8.count } else { sum }
    }
    if literals > MessageLimits.subject {
      throw RuleSyntaxError(
        "the subject's text alone has \(literals) bytes; at most \(MessageLimits.subject) are allowed",
        remedy: "shorten it", at: 0)
    }
    if tokenIsEmpty {
      throw RuleSyntaxError(
        "the subject ends with a dot", remedy: "put a name or a {path} after it", at: end - 1)
    }
  }
}

func describe(_ scalar: Unicode.Scalar) -> String {
  switch scalar.value {
  case 0x20: "a space"
  case 0..<0x20, 0x7F: "the control character U+\(hex4(scalar.value))"
  case 0x80...: "\(scalar) (U+\(hex4(scalar.value)))"
  default: "\(scalar)"
  }
}

private func hex4(_ value: UInt32) -> String {
  let digits = String(value, radix: 16, uppercase: true)
  return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
}
