import BSON
import Mapping
import Oplog

/// A `ByteWriter` that tests can keep in variables and return from closures.
final class ByteBuffer {
  private var writer = ByteWriter()

  func write(_ mapper: inout Mapper, _ rule: Int, _ event: ChangeEvent, _ match: Int) throws {
    try mapper.writeSubject(rule: rule, event: event, into: &writer)
    writer.append("\n")
    try mapper.writeHeaders(rule: rule, event: event, match: match, into: &writer)
    try mapper.writeBody(rule: rule, event: event, match: 0, into: &writer)
  }

  var text: String { String(decoding: writer.bytes, as: UTF8.self) }
}
