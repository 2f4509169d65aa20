import BSON
import Crypto
import Oplog

extension ByteWriter {
  /// What names a document in a snapshot, in an id: `snapshot:<cluster time>:<collection's UUID>:`,
  /// then `<type>:<_id>`, the type as BSON's number and the value as in templates. Documents and arrays, long values and those
  /// that have no text stand as the SHA-256 of their BSON. The same document of the same
  /// snapshot has the same name however often it is read, and in whatever order.
  mutating func append(snapshotIdentity event: borrowing ChangeEvent) {
    append("snapshot:")
    append(event.position.entry)
    append(UInt8(ascii: ":"))
    if let uuid = event.collectionUUID { appendHex(uuid) }
    append(UInt8(ascii: ":"))
    guard let key = event.documentKey, let id = try? key.first("_id") else { return }
    append(decimal: UInt64(id.type.rawValue))
    append(UInt8(ascii: ":"))
    let start = count
    var scratch = ByteWriter()
    let isText = (try? append(scalar: id, escaping: .header, scratch: &scratch)) ?? false
    if isText, count > start, count - start <= 256 { return }
    truncate(to: start)
    append("sha256-")
    SHA256.hash(data: id.value).withUnsafeBytes { appendHex($0) }
  }
}
