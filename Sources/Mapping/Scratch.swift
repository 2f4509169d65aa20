import BSON
internal import Patterns

/// The maximum number of fields passed while the paths of templates and outboxes are looked up: a document may
/// have millions, and a rule many paths. About 20 ns each.
enum LookupBudget {
  /// For all templates of a subject, of headers, or of a body.
  static let part = 600_000
  /// For one path of an outbox.
  static let outbox = 300_000

  static func exceeded(_ path: String, _ limit: Int) -> MappingError {
    MappingError(
      .tooComplex,
      "looking up \(path) passes more than \(limit) fields of the document: name fields that come earlier"
    )
  }
}

/// Memory that a mapper reuses from event to event, and renderings that successive events share: they come in
/// runs of one database, and many per millisecond.
struct Scratch: ~Copyable {
  /// For temporary bytes.
  var bytes = ByteWriter(capacity: 512)
  /// For a fact of the event that a condition reads.
  var fact = ByteWriter(capacity: 64)
  var pattern = PatternScratch()
  /// The rest of the current condition's budget; negative if it was exceeded.
  var conditionSteps = 0

  /// The rest of `LookupBudget.part` for the part being written.
  var lookupSteps = LookupBudget.part

  private var lastTime: Int64?
  private var lastTimeText = ByteWriter(capacity: 64)
  private var lastDatabase = ByteWriter(capacity: 64)
  private var lastDatabaseText = ByteWriter(capacity: 128)

  /// A time within RFC 3339's years.
  mutating func append(time: Int64, to out: inout ByteWriter) {
    if lastTime != time {
      lastTime = time
      lastTimeText.removeAll()
      lastTimeText.appendISODate(milliseconds: time)
    }
    out.append(lastTimeText.bytes)
  }

  /// A database's name as a URI component in a header.
  mutating func append(database: UnsafeRawBufferPointer, to out: inout ByteWriter) {
    if !lastDatabase.bytes.equals(database) {
      lastDatabase.removeAll()
      lastDatabase.append(database)
      lastDatabaseText.removeAll()
      lastDatabaseText.append(uriComponent: database)
    }
    out.append(lastDatabaseText.bytes)
  }
}
