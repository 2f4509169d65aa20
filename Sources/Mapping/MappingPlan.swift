import BSON
import Cryptography
import Oplog

/// Bytes in a plan's pool.
struct PoolRange {
  var start: Int32
  var count: Int32

  static let empty = PoolRange(start: 0, count: 0)
}

/// One piece of a template: literal bytes, or a path's remainder behind its field.
struct TemplateStep {
  var field: EventField?
  var bytes: PoolRange
}

/// The range of a template's steps.
struct TemplateRange {
  var start: Int32
  var count: Int32
}

/// A rule as numbers, for the hot path. Plain data, so that reading it counts no
/// references.
struct RulePlan {
  var operations: OperationSet
  var continues: Bool
  /// -1: none.
  var condition: Int32
  /// The condition looks into documents that the rule has fetched for updates.
  var conditionNeedsImage: Bool
  /// The condition looks into what an update changed.
  var conditionReadsUpdate: Bool
  var subject: TemplateRange
  /// Of values in the subject.
  var escaping: Escaping
  /// Messages are entries of a KV bucket: a delete has none, it purges the key.
  var isBucket: Bool
  /// `Nats-TTL: <seconds> CRLF`, or empty.
  var keyTTL: PoolRange
  /// Nil for positional ids.
  var id: TemplateRange?
  var envelope: Envelope
  var json: JSONStyle
  /// `:<rule>`, the suffix of positional ids for matches beyond the first.
  var idSuffix: PoolRange
  /// `CRLF Tailrace-Rule: <rule> CRLF`, and the line that names the bridge where others may write to
  /// the rule's stream.
  var ruleHeader: PoolRange
  /// The same for the rule's dead letters.
  var letterRuleHeader: PoolRange
  /// Escaped for a header; empty for `<collection>.<operation>`.
  var eventType: PoolRange
  /// `ce-dataschema: <uri> CRLF`, or empty.
  var dataSchema: PoolRange
  var documentKey: FilterState
  /// The redaction of the key's `_id`, for its uses outside of bodies.
  var documentID: FilterState
  var fullDocument: FilterState
  var beforeChange: FilterState
  var wantsImage: Bool
  var wantsBeforeChange: Bool
  /// An event whose image is missing is invalid.
  var requiresImage: Bool
  var requiresBeforeChange: Bool
  var updateDescription: FilterState
  var operationDescription: FilterState
  var stateBeforeChange: FilterState
  /// Bodies rename keys.
  var hasRenames: Bool
  /// The steps of bodies for each field.
  var bodyCost: BodyCost
  /// An update of which nothing is left has no message.
  var skipsEmptyUpdates: Bool
  /// Bodies of updates have the description, or a part of it.
  var showsUpdate: Bool
  var facts: EventFacts
  /// `,"name":value` of each constant.
  var constants: PoolRange
  var outbox: OutboxPlan?
  /// The style of its JSON.
  var eventTypeText: PoolRange
  var dataSchemaText: PoolRange
}

/// All rules compiled: flat arrays of plain data over one pool of bytes. Never changes once made.
struct MappingPlan: ~Copyable {
  private(set) var rules: [RulePlan] = []
  private(set) var steps: [TemplateStep] = []
  private(set) var filters = FilterTrees()
  private(set) var conditions = ConditionPlans()
  private(set) var wantsImages = false
  private var pool = ByteWriter(capacity: 1024)
  /// `<source>:`, the start of positional ids.
  private(set) var idPrefix = PoolRange.empty
  /// `CRLF ce-source: /mongodb/<source>/`.
  private(set) var ceSource = PoolRange.empty

  /// `Tailrace-Bridge: <bridge> CRLF`; empty where messages name no bridge.
  private(set) var bridgeHeader = PoolRange.empty
  /// `%letter:<bridge>:`, for dead letters with ids of their own.
  private(set) var letterMark = PoolRange.empty

  /// `sourceName`, not escaped.
  private(set) var source = PoolRange.empty
  /// Of the redaction `hash`.
  let redactionKey: HMACKey?

  init(rules: [Rule], sourceName: String, redactionKey: [UInt8]?, mark: BridgeMark?) {
    self.redactionKey = redactionKey.map { HMACKey($0) }
    source = keep { $0.append(sourceName) }
    idPrefix = keep { $0.append(positionalIDPrefix(of: sourceName)) }
    ceSource = keep {
      $0.append("\r\nce-source: /mongodb/")
      $0.append(uriComponent: sourceName)
      $0.append("/")
    }
    if let mark {
      bridgeHeader = keep {
        $0.append("Tailrace-Bridge: ")
        $0.append(mark.bridge, escapedFor: .header)
        $0.append("\r\n")
      }
      letterMark = keep {
        $0.append(DeadLetterID.separator)
        $0.append(mark.bridge, escapedFor: .header)
        $0.append(":")
      }
    }
    for rule in rules {
      add(rule, isNamed: mark?.isNamed(streamIndex: rule.streamIndex) ?? false, mark?.bridge)
    }
  }

  /// The bytes keep their addresses as long as the plan lives: only `init` fills the pool.
  @inline(__always)
  func bytes(_ range: PoolRange) -> UnsafeRawBufferPointer {
    let from = Int(range.start)
    return UnsafeRawBufferPointer(rebasing: pool.bytes[from..<(from &+ Int(range.count))])
  }

  private mutating func keep(_ write: (inout ByteWriter) -> Void) -> PoolRange {
    let start = pool.count
    write(&pool)
    return PoolRange(start: Int32(start), count: Int32(pool.count - start))
  }

  private mutating func add(_ template: Template) -> TemplateRange {
    let start = steps.count
    for piece in template.pieces {
      switch piece {
      case .literal(let text):
        steps.append(TemplateStep(field: nil, bytes: keep { $0.append(text) }))
      case .path(let path):
        steps.append(TemplateStep(field: path.field, bytes: keep { $0.append(path.remainder) }))
      }
    }
    return TemplateRange(start: Int32(start), count: Int32(steps.count - start))
  }

  private mutating func add(_ outbox: Outbox) -> OutboxPlan {
    OutboxPlan(
      id: add(outbox.id), subject: add(outbox.subject), type: add(outbox.type),
      payload: add(outbox.payload),
      subjects: keep { out in
        for subject in outbox.subjects {
          out.append(subject)
          out.append(" ")
        }
      })
  }

  private mutating func add(_ path: EventPath) -> PathPlan {
    PathPlan(field: path.field, remainder: keep { $0.append(path.remainder) })
  }

  private static func writeRuleHeader(_ rule: Rule, bridge: String?, to out: inout ByteWriter) {
    out.append("\r\nTailrace-Rule: ")
    out.append(rule.name, escapedFor: .header)
    out.append("\r\n")
    guard let bridge else { return }
    out.append("Tailrace-Bridge: ")
    out.append(bridge, escapedFor: .header)
    out.append("\r\n")
  }

  private mutating func add(_ rule: Rule, isNamed: Bool, _ bridge: String?) {
    let subject = add(rule.subject)
    var id: TemplateRange? = nil
    if case .template(let template) = rule.id { id = add(template) }

    if rule.fullDocument != .off || rule.fullDocumentBeforeChange != .off { wantsImages = true }
    let include = filters.add(rule.filter.includePaths, empty: FilterState.all)
    let exclude = filters.add(rule.filter.excludePaths, empty: FilterState.none)
    let root = FilterState(
      include: include, exclude: exclude, change: filters.add(rule.changes.all))
    var documentKey = state(of: "documentKey", in: root)
    if documentKey.include == FilterState.none { documentKey.include = FilterState.all }
    var operationDescription = state(of: "operationDescription", in: root)
    operationDescription.include = FilterState.all
    var stateBeforeChange = state(of: "stateBeforeChange", in: root)
    stateBeforeChange.include = FilterState.all
    let updateDescription = state(of: "updateDescription", in: root)
    let facts = rule.filter.exclude.compactMap(EventFacts.init(path:))
      .reduce(EventFacts.all) { $0.subtracting($1) }

    var condition: Int32 = -1
    if let wanted = rule.condition {
      condition = conditions.add(rule: wanted, pool: &pool)
    }
    rules.append(
      RulePlan(
        operations: rule.operations, continues: rule.continues, condition: condition,
        conditionNeedsImage: rule.fullDocument != .off
          && rule.condition?.reads(.fullDocument) == true,
        conditionReadsUpdate: rule.condition?.reads(.updateDescription) == true,
        subject: subject, escaping: rule.route.isBucket ? .key : .token,
        isBucket: rule.route.isBucket,
        keyTTL: keep { if let ttl = rule.keyTTL { $0.append("Nats-TTL: \(ttl)s\r\n") } },
        id: id,
        envelope: rule.envelope, json: rule.json,
        idSuffix: keep {
          $0.append(":")
          $0.append(rule.name, escapedFor: .header)
        },
        ruleHeader: keep { Self.writeRuleHeader(rule, bridge: isNamed ? bridge : nil, to: &$0) },
        letterRuleHeader: keep { Self.writeRuleHeader(rule, bridge: bridge, to: &$0) },
        eventType: keep { $0.append(rule.eventType ?? "", escapedFor: .header) },
        dataSchema: keep {
          guard let schema = rule.dataSchema else { return }
          $0.append("ce-dataschema: ")
          $0.append(schema, escapedFor: .header)
          $0.append("\r\n")
        },
        documentKey: documentKey, documentID: documentID(documentKey),
        fullDocument: state(of: "fullDocument", in: root),
        beforeChange: state(of: "fullDocumentBeforeChange", in: root),
        wantsImage: rule.fullDocument != .off,
        wantsBeforeChange: rule.fullDocumentBeforeChange != .off,
        requiresImage: rule.fullDocument == .required,
        requiresBeforeChange: rule.fullDocumentBeforeChange == .required,
        updateDescription: updateDescription,
        operationDescription: operationDescription, stateBeforeChange: stateBeforeChange,
        hasRenames: !rule.changes.renames.isEmpty, bodyCost: BodyCost(rule),
        skipsEmptyUpdates: rule.skipsEmptyUpdates,
        showsUpdate: rule.envelope != .document && !updateDescription.isDropped, facts: facts,
        constants: keep { out in
          for constant in rule.changes.constants {
            out.append(",")
            out.append(jsonString: constant.name)
            out.append(":")
            out.append(constant.json)
          }
        },
        outbox: rule.outbox.map { add($0) },
        eventTypeText: keep { $0.append(rule.eventType ?? "") },
        dataSchemaText: keep { $0.append(rule.dataSchema ?? "") }))
  }

  /// A value that `include` leaves out isn't hidden, nor is the key if only bodies lack it.
  private func documentID(_ key: FilterState) -> FilterState {
    guard key.exclude != FilterState.all else { return .whole }
    var id = filters.step(key, key: rawBytes("_id"), inArray: false)
    id.include = FilterState.all
    return id
  }

  private func state(of field: StaticString, in root: FilterState) -> FilterState {
    filters.step(root, key: rawBytes(field), inArray: false)
  }
}

extension ByteWriter {
  mutating func append(_ text: String, escapedFor place: Escaping) {
    var text = text
    text.withUTF8 { append(escaping: UnsafeRawBufferPointer($0), for: place) }
  }

  mutating func append(jsonString text: String) {
    let bytes = Array(text.utf8)
    // A Swift string is UTF-8.
    bytes.withUnsafeBytes { try? appendJSONString($0) }
  }

  mutating func append(uriComponent text: String) {
    var text = text
    text.withUTF8 { append(uriComponent: UnsafeRawBufferPointer($0)) }
  }

  /// Percent-encodes for a URI, then that for a header, as the two layers of a CloudEvents header
  /// ask: a space becomes `%2520`.
  mutating func append(uriComponent bytes: UnsafeRawBufferPointer) {
    for byte in bytes {
      if staysInToken(byte) || byte == UInt8(ascii: ".") {
        append(byte)
      } else {
        append("%25")
        append(hexDigit(byte >> 4))
        append(hexDigit(byte & 15))
      }
    }
  }
}

/// The prefix of all positional ids of this source.
package func positionalIDPrefix(of sourceName: String) -> [UInt8] {
  var prefix = ByteWriter(capacity: 64)
  prefix.append(sourceName, escapedFor: .header)
  prefix.append(":")
  return Array(prefix.bytes)
}
