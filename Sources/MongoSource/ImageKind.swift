public import BSON
public import Oplog

/// One document that was asked for.
public struct Image: Sendable {
  public var kind: ImageKind
  /// Nil for `none`. Points into the `ImageAnswer` it came with.
  public var document: BSONView?

  package init(kind: ImageKind, document: BSONView? = nil) {
    self.kind = kind
    self.document = document
  }
}

/// What an `ImageRequest` brought, in the order of its images.
///
/// Invariant behind `@unchecked Sendable`: immutable, and the images point into `replies` only,
/// which live as long as it does.
public final class ImageAnswer: @unchecked Sendable {
  /// The `restart` of the reader this belongs to.
  public let generation: UInt64
  private let images: [Image]
  private let replies: [MongoReply]

  /// The images from 0 to here are answered. Fewer than asked for only where documents are so
  /// large that all of them would take too much memory: ask again for the others.
  public var count: Int { images.count }

  /// An image's bytes are valid as long as the answer: hold it in `withExtendedLifetime`.
  public subscript(index: Int) -> Image { images[index] }

  init(generation: UInt64, images: [Image], replies: [MongoReply]) {
    self.generation = generation
    self.images = images
    self.replies = replies
  }
}
