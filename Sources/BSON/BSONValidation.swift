extension BSONView {
  /// Validates the whole document recursively: everything that `BSONElements` checks, nesting up to
  /// `maximumDepth` and, with `utf8`, that keys and text are UTF-8 (text may contain NUL). Error offsets
  /// count from the start of this document.
  ///
  /// For untrusted bytes. Reading and the JSON writer validate what they access anyway.
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

  /// Never thrown: the iterator has validated these values.
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
