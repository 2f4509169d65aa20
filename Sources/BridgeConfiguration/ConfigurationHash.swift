import Mapping
import Oplog

extension BridgeConfiguration {
  /// A digest of everything that determines messages (names of source and bridge, rules, their streams):
  /// 16 hexadecimal digits, the same for the same configuration on every machine. Not for security.
  public var hash: String { hash(sourceName: source.name ?? source.uri.replicaSet ?? "") }

  /// The same with the source's name as found by connecting.
  public func hash(sourceName: String) -> String {
    var digest = FNV1a()
    digest.add("tailrace-1")
    digest.add(sourceName)
    let mark = bridgeMark
    digest.add(mark.bridge)
    for (index, rule) in rules.enumerated() {
      digest.add(rule.name)
      digest.add(rule.namespace.text)
      digest.add("\(rule.operations.rawValue)")
      digest.add("\(rule.continues)")
      if let condition = rule.condition { digest.add(condition.digest) }
      digest.add(rule.subject.text)
      switch rule.id {
      case .positional: digest.add("positional")
      case .template(let template): digest.add("template \(template.text)")
      }
      digest.add(rule.envelope.rawValue)
      digest.add("\(rule.json)")
      digest.add(rule.filter.include)
      digest.add(rule.filter.exclude)
      if rule.disambiguatesPaths { digest.add("disambiguated_paths true") }
      for rename in rule.changes.renames { digest.add([rename.path.text, rename.name]) }
      for redacted in rule.changes.redactions {
        digest.add([redacted.path.text, redacted.redaction.rawValue])
      }
      for constant in rule.changes.constants { digest.add([constant.name, constant.json]) }
      if let outbox = rule.outbox {
        digest.add("\(outbox.id) \(outbox.subject) \(outbox.type) \(outbox.payload)")
      }
      digest.add(rule.fullDocument.rawValue)
      digest.add(rule.fullDocumentBeforeChange.rawValue)
      digest.add(rule.eventType ?? "")
      digest.add(rule.dataSchema ?? "")
      if schemas.indices.contains(index), let schema = schemas[index] { digest.add(schema.digest) }
      if let index = rule.streamIndex {
        digest.add(streams[index].name)
        digest.add("\(mark.streams[index])")
        if let ttl = rule.keyTTL { digest.add("ttl \(ttl)") }
      } else {
        digest.add("core")
      }
      digest.add(rule.onInvalid.rawValue)
      if rule.onIDConflict != .deadLetter {
        digest.add("on_id_conflict \(rule.onIDConflict.rawValue)")
      }
      if !rule.skipsEmptyUpdates { digest.add("skip_empty_updates false") }
    }
    digest.add(unmatched.rawValue)
    digest.add(deadLetter.stream)
    digest.add("\(deadLetter.subject)")
    return digest.text
  }
}

/// FNV-1a, 64 bits, over texts with their lengths, so that no two lists of texts run together.
struct FNV1a {
  private var state: UInt64 = 0xCBF2_9CE4_8422_2325

  private mutating func add(byte: UInt8) { state = (state ^ UInt64(byte)) &* 0x100_0000_01B3 }

  mutating func add(_ text: String) {
    for shift in stride(from: 0, to: 32, by: 8) {
      add(byte: UInt8(truncatingIfNeeded: text.utf8.count >> shift))
    }
    for byte in text.utf8 { add(byte: byte) }
  }

  mutating func add(_ list: [String]) {
    add("\(list.count)")
    for text in list { add(text) }
  }

  var text: String {
    let digits = String(state, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
