import BSON
internal import JSONSchema

/// Memory that a mapper reuses from event to event, and the renderings that neighbours share: events
/// come in runs of one database, and many to a millisecond.
struct Scratch: ~Copyable {
  /// For whoever needs some bytes for a moment.
  var bytes = ByteWriter(capacity: 512)
  /// For a fact of the event that a condition asks for.
  var fact = ByteWriter(capacity: 64)
  var pattern = PatternScratch()

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
