import BridgeConfiguration
import Logging
import NIOCore

/// What the rules of a configuration want of events.
package struct FeedWishes: Sendable {
  /// As `OplogDecoder` has it; nil: every update.
  package var isUpdateWanted: (@Sendable (UnsafeRawBufferPointer) -> Bool)?
  package var disambiguatesPaths = false
  /// Makes the stage that fetches documents, if any rule wants them, from the one in use.
  package var images: @Sendable (FullDocumentPrefetcher?) -> FullDocumentPrefetcher?

  /// Only what entries contain.
  package static let entriesAlone = FeedWishes(isUpdateWanted: nil, images: { _ in nil })

  package init(
    isUpdateWanted: (@Sendable (UnsafeRawBufferPointer) -> Bool)?,
    disambiguatesPaths: Bool = false,
    images: @escaping @Sendable (FullDocumentPrefetcher?) -> FullDocumentPrefetcher?
  ) {
    self.isUpdateWanted = isUpdateWanted
    self.disambiguatesPaths = disambiguatesPaths
    self.images = images
  }

  /// - Parameter onAnswer: called when documents have come.
  init(
    _ configuration: BridgeConfiguration,
    isUpdateWanted: (@Sendable (UnsafeRawBufferPointer) -> Bool)?, eventLoop: any EventLoop,
    logger: Logger, onAnswer: @escaping @Sendable () -> Void
  ) {
    self.init(
      isUpdateWanted: isUpdateWanted,
      disambiguatesPaths: configuration.rules.disambiguatePaths,
      images: { old in
        FullDocumentPrefetcher.replacing(
          old, configuration, eventLoop: eventLoop, logger: logger, onAnswer: onAnswer)
      })
  }
}
