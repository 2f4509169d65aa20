import JSON

/// What a recorded change of a document has to have, so that it tells what the change was.
enum RecordedShape {
  /// The first member that is missing, or of another kind, with its value; nil if there is none.
  ///
  /// - Parameter text: the event, in Extended JSON.
  static func fault(of text: some StringProtocol) -> String? {
    guard let event = try? JSONValue(parsing: String(text)) else { return nil }
    let operation = event["operationType"]?.stringValue
    for name in ["db", "coll"] where event["ns"]?[name]?.stringValue?.isEmpty != false {
      return fault(
        "ns", event["ns"], "must have a database and a collection, as texts: db and coll")
    }
    guard event["documentKey"]?["_id"] != nil else {
      return fault("documentKey", event["documentKey"], "must be a document with an _id")
    }
    if operation == "insert" || operation == "replace", event["fullDocument"]?.objectValue == nil {
      return fault("fullDocument", event["fullDocument"], "must be a document")
    }
    // One that is too large may be left out.
    let update = event["updateDescription"]
    if let update, update != .null, update.objectValue == nil {
      return fault("updateDescription", update, "must be a document")
    }
    if let fields = update?["updatedFields"], fields.objectValue == nil {
      return fault("updateDescription.updatedFields", fields, "must be a document")
    }
    return nil
  }

  /// Of an event whose type is no text.
  static func typeFault(of text: some StringProtocol) -> String {
    let event = try? JSONValue(parsing: String(text))
    return fault("operationType", event?["operationType"], "must be a text, such as \"insert\"")
  }

  private static let longest = 60

  private static func fault(_ name: String, _ value: JSONValue?, _ rule: String) -> String {
    guard let value else { return "\(name) is missing: it \(rule)" }
    let text = value.text()
    let shown = text.count <= longest ? text : text.prefix(longest - 1) + "…"
    return "\(name) is \(shown): it \(rule)"
  }
}
