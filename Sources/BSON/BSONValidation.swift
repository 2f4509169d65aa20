extension BSONView {
  /// Walks the whole document, to its full depth, and throws at the first thing that isn't BSON:
  /// what `BSONElements` checks, nesting beyond `maximumDepth` and, with `utf8`, keys and text that
  /// aren't UTF-8 (a NUL is allowed in text). Offsets count from the start of this document.
  ///
  /// For bytes of doubtful origin; reading and writing JSON check what they touch by themselves.
  public func validate(utf8: Bool) throws(BSONError) {
    try validate(utf8: utf8, depth: 1)
  }

  private func validate(utf8: Bool, depth: Int) throws(BSONError) {
    guard depth <= Self.maximumDepth else { throw BSONError(.tooDeep, at: 0) }
    var walk = elements()
    while let element = try walk.next() {
      if utf8 { try checkText(element.key) }
      switch element.type {
      case .string, .javascript, .symbol:
        if utf8 { try checkText(element.text) }
      case .regex:
        guard let regex = element.regex else { throw Self.misshapen }
        if utf8 {
          try checkText(regex.pattern)
          try checkText(regex.options)
        }
      case .dbPointer:
        guard let pointer = element.dbPointer else { throw Self.misshapen }
        if utf8 { try checkText(pointer.namespace) }
      case .javascriptWithScope:
        guard let code = element.codeWithScope else { throw Self.misshapen }
        if utf8 { try checkText(code.code) }
        try validate(nested: code.scope, utf8: utf8, depth: depth)
      case .document, .array:
        guard let document = element.document else { throw Self.misshapen }
        try validate(nested: document, utf8: utf8, depth: depth)
      default: break
      }
    }
  }

  /// Never seen: the walk has checked these values' shape.
  private static var misshapen: BSONError { BSONError(.truncated, at: 0) }

  private func validate(nested: BSONView, utf8: Bool, depth: Int) throws(BSONError) {
    do throws(BSONError) {
      try nested.validate(utf8: utf8, depth: depth &+ 1)
    } catch {
      throw error.moved(by: nested.bytes.offset(in: bytes))
    }
  }

  private func checkText(_ text: UnsafeRawBufferPointer) throws(BSONError) {
    if let wrong = UTF8Scan.firstInvalid(in: text) {
      throw BSONError(.invalidUTF8, at: text.offset(in: bytes) + wrong)
    }
  }
}
