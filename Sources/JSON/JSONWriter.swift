extension JSONValue: CustomStringConvertible {
  /// Compact JSON.
  public var description: String { text() }

  /// JSON text; with `pretty`, indented by two spaces.
  public func text(pretty: Bool = false) -> String {
    var out: [UInt8] = []
    write(into: &out, indent: pretty ? 0 : nil)
    return String(decoding: out, as: UTF8.self)
  }

  public var utf8: [UInt8] {
    var out: [UInt8] = []
    write(into: &out, indent: nil)
    return out
  }

  private func write(into out: inout [UInt8], indent: Int?) {
    switch self {
    case .null: out.append(contentsOf: "null".utf8)
    case .bool(let b): out.append(contentsOf: (b ? "true" : "false").utf8)
    case .number(let digits): out.append(contentsOf: digits.utf8)
    case .string(let s): Self.write(s, into: &out)
    case .array(let elements):
      Self.wrap("[", "]", elements, into: &out, indent: indent) { element, out, inner in
        element.write(into: &out, indent: inner)
      }
    case .object(let members):
      Self.wrap("{", "}", members, into: &out, indent: indent) { member, out, inner in
        Self.write(member.key, into: &out)
        out.append(contentsOf: (inner == nil ? ":" : ": ").utf8)
        member.value.write(into: &out, indent: inner)
      }
    }
  }

  private static func wrap<T>(
    _ open: String, _ close: String, _ items: [T], into out: inout [UInt8], indent: Int?,
    each: (T, inout [UInt8], Int?) -> Void
  ) {
    out.append(contentsOf: open.utf8)
    let inner = indent.map { $0 + 2 }
    for (n, item) in items.enumerated() {
      if n > 0 { out.append(UInt8(ascii: ",")) }
      if let inner { newline(inner, into: &out) }
      each(item, &out, inner)
    }
    if let indent, !items.isEmpty { newline(indent, into: &out) }
    out.append(contentsOf: close.utf8)
  }

  private static func newline(_ indent: Int, into out: inout [UInt8]) {
    out.append(0x0A)
    out.append(contentsOf: repeatElement(0x20, count: indent))
  }

  private static func write(_ s: String, into out: inout [UInt8]) {
    out.append(UInt8(ascii: "\""))
    for c in s.utf8 {
      switch c {
      case UInt8(ascii: "\""): out.append(contentsOf: "\\\"".utf8)
      case UInt8(ascii: "\\"): out.append(contentsOf: "\\\\".utf8)
      case 0x0A: out.append(contentsOf: "\\n".utf8)
      case 0x0D: out.append(contentsOf: "\\r".utf8)
      case 0x09: out.append(contentsOf: "\\t".utf8)
      case 0..<0x20:
        let hex = String(c, radix: 16)
        out.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - hex.count) + hex).utf8)
      default: out.append(c)
      }
    }
    out.append(UInt8(ascii: "\""))
  }
}
