import BSON
import Cryptography
import Oplog

extension MappingPlan {
  /// A document's identity in a snapshot, in ids: `snapshot:<cluster time>:<collection's UUID>:`,
  /// then `<type>:<_id>`, the type as BSON's number. The same document of the same snapshot has the
  /// same name however often it is read and in whatever order, and no two documents share one.
  ///
  /// `_id` is its simplified JSON without quotes where nothing else of that type has the same text, and
  /// `sha256-` with the SHA-256 of its BSON value otherwise. Of an `_id` that the rule hides, or a part of,
  /// it is `hmac-` with the HMAC-SHA256 under the key of redactions, where there is one.
  ///
  /// - Parameter isFollowed: a rule's name follows, behind a colon, which a text may hold itself.
  func write(
    snapshotIdentity event: borrowing ChangeEvent, _ rule: RulePlan?, isFollowed: Bool,
    into: inout ByteWriter
  ) {
    into.append("snapshot:")
    into.append(event.position.entry)
    into.append(UInt8(ascii: ":"))
    if let uuid = event.collectionUUID { into.appendHex(uuid) }
    into.append(UInt8(ascii: ":"))
    guard let key = event.documentKey, let id = try? key.first("_id") else { return }
    into.append(decimal: UInt64(id.type.rawValue))
    into.append(UInt8(ascii: ":"))
    let isHidden = rule.map { !$0.documentID.isWhole } ?? false
    if isHidden, let redactionKey {
      into.append("hmac-")
      return redactionKey.withCode(of: id.value) { into.appendHex($0) }
    }
    let start = into.count
    if !isHidden, id.hasOwnText(isFollowed: isFollowed) {
      var scratch = ByteWriter()
      let isText = (try? into.append(plain: id, escaping: .header, scratch: &scratch)) ?? false
      let length = into.count &- start
      // A text must not look like a digest.
      if isText, length > 0, length <= 256,
        !UnsafeRawBufferPointer(rebasing: into.bytes[start...]).starts(with: "sha256-".utf8)
      {
        return
      }
      into.truncate(to: start)
    }
    into.append("sha256-")
    SHA256.withDigest(of: id.value) { into.appendHex($0) }
  }
}

extension BSONElement {
  /// Whether no other value of its type has the same text, considering only values that can be `_id`s of
  /// different documents in one collection. (Texts of numbers that are equal may differ: those can't.)
  fileprivate func hasOwnText(isFollowed: Bool) -> Bool {
    switch simplifiedForm {
    case .text: !isFollowed
    // The subtype is not in the text. Subtype 4 of sixteen bytes has a text of its own: a UUID.
    case .base64: binary?.subtype == 0
    case .null, .boolean, .integer, .number, .nonFiniteNumber, .objectID, .dateTime,
      .milliseconds, .decimal, .uuid:
      true
    case .array, .object, .timestamp, .regex, .codeWithScope, .dbPointer, .minKey, .maxKey: false
    }
  }
}
