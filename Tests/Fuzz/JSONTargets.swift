import BSON
import JSON
import JSONSchema

let fuzzJSON: FuzzTarget = { bytes in
  let digest = JSONDigest(bytes)
  let value = try JSONValue(parsing: bytes)
  let again = value.text()
  guard let same = try? JSONValue(parsing: again) else {
    return promise(false, "what was written is not read: \(again)")
  }
  promise(same == value, "it is another value when it is read again: \(again)")
  if let digest {
    promise(JSONDigest(Array(again.utf8)) == digest, "it has another digest: \(again)")
  }
  promise((try? JSONValue(parsing: value.text(pretty: true))) == value, "pretty is another value")
}

/// Extended JSON becomes BSON that is valid, and written again as the same document.
let fuzzExtendedJSON: FuzzTarget = { bytes in
  for dialect in [ExtendedJSON.Dialect.any, .printed] {
    guard let document = try? ExtendedJSON.bson(text(bytes), as: dialect) else { continue }
    try document.withUnsafeBytes { raw in
      let view = try BSONView(raw)
      var out = ByteWriter(capacity: 256)
      guard (try? view.validate(utf8: true)) != nil,
        (try? out.appendJSON(view, style: .canonical)) != nil
      else { return }
      promise((try? JSONValue(parsing: out.bytes)) != nil, "no JSON: \(text(out.bytes))")
    }
  }
}

/// A schema and, behind a NUL, a document: the fast validator and the one that explains agree.
let fuzzSchema: FuzzTarget = { bytes in
  let end = bytes.firstIndex(of: 0) ?? bytes.count
  let schema = try CompiledSchema(text: text(UnsafeRawBufferPointer(rebasing: bytes[..<end])))
  guard end < bytes.count else { return }
  let instance = try ExtendedJSON.bson(
    text(UnsafeRawBufferPointer(rebasing: bytes[(end + 1)...])), as: .printed)
  try instance.withUnsafeBytes { raw in
    let view = try BSONView(raw)
    let validator = SchemaValidator(schema)
    let isValid = validator.validate(view)
    // The explainer has no bounds.
    guard validator.fault == nil, validator.steps < 5_000 else { return }
    let report = validator.explain(view)
    promise(report.isValid == isValid, "valid: \(isValid), explained: \(report.violations)")
  }
}
