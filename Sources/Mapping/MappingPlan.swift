import BSON
import Crypto
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

/// Where a template's steps lie.
struct TemplateRange {
  var start: Int32
  var count: Int32
}

/// A rule as numbers: what the hot path reads of it. Plain data, so that reading it counts no
/// references.
struct RulePlan {
  var operations: OperationSet
  var continues: Bool
  /// -1: none.
  var condition: Int32
  /// The condition looks into documents that the rule has fetched for updates.
  var conditionNeedsImage: Bool
  var subject: TemplateRange
  /// Nil for positional ids.
  var id: TemplateRange?
  var envelope: Envelope
  var json: JSONStyle
  /// `:<rule>`, what a positional id gets for matches beyond the first.
  var idSuffix: PoolRange
  /// `CRLF Tailrace-Rule: <rule> CRLF`.
  var ruleHeader: PoolRange
  /// Escaped for a header; empty for `<collection>.<operation>`.
  var eventType: PoolRange
  /// `ce-dataschema: <uri> CRLF`, or empty.
  var dataSchema: PoolRange
  var documentKey: FilterState
  var fullDocument: FilterState
  var beforeChange: FilterState
  var wantsImage: Bool
  var wantsBeforeChange: Bool
  /// An event whose image is missing is invalid.
  var requiresImage: Bool
  var requiresBeforeChange: Bool
  var updateDescription: FilterState
  var facts: EventFacts
  /// `,"name":value` of each constant.
  var constants: PoolRange
  var outbox: OutboxPlan?
  /// As JSON is to have them.
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

  /// `sourceName` as it is.
  private(set) var source = PoolRange.empty
  /// Of the redaction `hash`.
  let redactionKey: SymmetricKey?

  init(rules: [Rule], sourceName: String, redactionKey: [UInt8]?) {
    self.redactionKey = redactionKey.map { SymmetricKey(data: $0) }
    source = keep { $0.append(sourceName) }
    idPrefix = keep {
      $0.append(sourceName, escapedFor: .header)
      $0.append(":")
    }
    ceSource = keep {
      $0.append("\r\nce-source: /mongodb/")
      $0.append(uriComponent: sourceName)
      $0.append("/")
    }
    for rule in rules { add(rule) }
  }

  /// The bytes stay where they are for the plan's life: the pool is filled in `init` alone.
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

  private mutating func add(_ rule: Rule) {
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
    let facts = rule.filter.exclude.compactMap(EventFacts.init(path:))
      .reduce(EventFacts.all) { $0.subtracting($1) }

    var condition: Int32 = -1
    if let wanted = rule.condition {
      condition = conditions.add(wanted, pool: &pool)
    }
    rules.append(
      RulePlan(
        operations: rule.operations, continues: rule.continues, condition: condition,
        conditionNeedsImage: rule.fullDocument != .off
          && rule.condition?.readsFullDocument == true,
        subject: subject, id: id,
        envelope: rule.envelope, json: rule.json,
        idSuffix: keep {
          $0.append(":")
          $0.append(rule.name, escapedFor: .header)
        },
        ruleHeader: keep {
          $0.append("\r\nTailrace-Rule: ")
          $0.append(rule.name, escapedFor: .header)
          $0.append("\r\n")
        },
        eventType: keep { $0.append(rule.eventType ?? "", escapedFor: .header) },
        dataSchema: keep {
          guard let schema = rule.dataSchema else { return }
          $0.append("ce-dataschema: ")
          $0.append(schema, escapedFor: .header)
          $0.append("\r\n")
        },
        documentKey: documentKey, fullDocument: state(of: "fullDocument", in: root),
        beforeChange: state(of: "fullDocumentBeforeChange", in: root),
        wantsImage: rule.fullDocument != .off,
        wantsBeforeChange: rule.fullDocumentBeforeChange != .off,
        requiresImage: rule.fullDocument == .required,
        requiresBeforeChange: rule.fullDocumentBeforeChange == .required,
        updateDescription: state(of: "updateDescription", in: root), facts: facts,
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
