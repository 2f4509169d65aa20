package import BSON
package import Oplog

/// A parsed reply to find or getMore. Its views point into the reply's bytes, which whoever holds it
/// must keep alive.
package struct CursorReply {
  /// 0 when the server has closed the cursor.
  package var cursor: Int64
  /// The array of documents.
  package var documents: BSONView
  /// The server's position when it answered.
  package var operationTime: OplogPosition?
  /// Resumes after the batch; change streams only.
  package var resumeToken: BSONView?

  /// The bytes are not a cursor reply.
  package struct Malformed: Error, Equatable, Sendable, CustomStringConvertible {
    package var description: String
  }

  package init(_ bytes: UnsafeRawBufferPointer) throws(Malformed) {
    var fields = Fields()
    do {
      try fields.read(bytes)
    } catch {
      throw Malformed(description: "a cursor reply of \(bytes.count) bytes: \(error)")
    }
    guard let cursor = fields.cursor, let documents = fields.documents else {
      throw Malformed(description: "a cursor reply of \(bytes.count) bytes without id or batch")
    }
    self.cursor = cursor
    self.documents = documents
    self.operationTime = fields.operationTime
    self.resumeToken = fields.resumeToken
  }

  private struct Fields {
    var cursor: Int64?
    var documents: BSONView?
    var operationTime: OplogPosition?
    var resumeToken: BSONView?

    mutating func read(_ bytes: UnsafeRawBufferPointer) throws(BSONError) {
      var walk = try BSONView(bytes).elements()
      while let element = try walk.next() {
        if element.key.equals("cursor"), element.type == .document {
          try readCursor(BSONView(element.value))
        } else if element.key.equals("operationTime"), let time = element.timestamp {
          operationTime = OplogPosition(seconds: time.seconds, increment: time.increment)
        }
      }
    }

    private mutating func readCursor(_ view: BSONView) throws(BSONError) {
      var walk = view.elements()
      while let element = try walk.next() {
        if element.key.equals("id") {
          cursor = element.integer
        } else if element.type == .array,
          element.key.equals("nextBatch") || element.key.equals("firstBatch")
        {
          documents = try BSONView(element.value)
        } else if element.key.equals("postBatchResumeToken") {
          resumeToken = element.document
        }
      }
    }
  }

  /// What the reader needs to know about a batch of oplog entries.
  package struct Survey {
    package var count = 0
    package var first: ResumePoint?
    package var last: ResumePoint?

    /// Reads the first and the last entry; of the others only the lengths.
    fileprivate mutating func walk(_ documents: BSONView) throws(BSONError) -> Bool {
      var walk = documents.elements()
      var latest: BSONElement?
      while let element = try walk.next() {
        guard element.type == .document else { return false }
        if count == 0 { first = try ResumePoint(BSONView(element.value)) }
        count += 1
        latest = element
      }
      if let latest { last = try ResumePoint(BSONView(latest.value)) }
      return count == 0 || (first != nil && last != nil)
    }
  }

  package func survey() throws(Malformed) -> Survey {
    var survey = Survey()
    let isOplog: Bool
    do {
      isOplog = try survey.walk(documents)
    } catch {
      throw Malformed(description: "near entry \(survey.count) of a batch: \(error)")
    }
    guard isOplog else {
      throw Malformed(description: "near entry \(survey.count) of a batch: not an oplog entry")
    }
    return survey
  }
}
