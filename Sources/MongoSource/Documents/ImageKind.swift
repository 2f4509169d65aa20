public import BSON
public import Oplog

/// One requested document, borrowed from its answer.
public struct Image {
  public var kind: ImageKind
  /// Nil for `none`. Points into the replies of its `ImageAnswer`, so it is valid only while that is
  /// alive.
  public var document: BSONView?

  package init(kind: ImageKind, document: BSONView? = nil) {
    self.kind = kind
    self.document = document
  }
}

/// The images of an `ImageRequest`, in its order.
///
/// Invariant behind `@unchecked Sendable`: immutable, and `images` points only into `replies`, which
/// are immutable and live as long as the answer.
public final class ImageAnswer: @unchecked Sendable {
  /// The `restart` of the reader this belongs to.
  public let generation: UInt64
  private let images: [Image]
  private let replies: [MongoReply]

  /// How many images are answered. Fewer than requested only if all of them would take too much
  /// memory: request the others again.
  public var count: Int { images.count }

  /// An image's bytes are valid as long as the answer: keep it alive with `withExtendedLifetime`.
  public subscript(index: Int) -> Image { images[index] }

  init(generation: UInt64, images: [Image], replies: [MongoReply]) {
    self.generation = generation
    self.images = images
    self.replies = replies
  }

  /// Documents that no server sent: a test's. Nil: none.
  package convenience init(
    generation: UInt64, documents: [[UInt8]?]
  ) throws(CursorReply.Malformed) {
    let reply = MongoReply(batch: documents.compactMap { $0 })
    var found = try CursorReply(reply.bytes).documents.elements()
    let images = documents.map { document in
      let view = document.flatMap { _ in try? found.next()?.document }
      return Image(kind: view == nil ? .none : .post, document: view)
    }
    self.init(generation: generation, images: images, replies: [reply])
  }
}
