import BSON
import BridgeConfiguration
import Logging
package import Mapping
package import MongoSource
package import NIOCore
import Oplog

/// What reads documents for the prefetcher: an `ImageReader`, or a test's. Thread-safe.
package protocol DocumentReader: AnyObject, Sendable {
  /// Discards all requests; the generation of those that follow.
  func restart() -> UInt64
  /// As `ImageReader.submit`: answers at most once, on any thread; false if no answer follows.
  func submit(
    _ request: ImageRequest, generation: UInt64,
    onAnswer: @escaping @Sendable (ImageAnswer) -> Void
  ) -> Bool
  var status: ImageStatus { get }
}

extension ImageReader: DocumentReader {}

/// Reads ahead of the feed where rules want documents that entries don't hold: decodes a stretch of
/// the batch, has the images of its events fetched, and only then lets the feed come that far.
///
/// Both decoders take the same steps over the same bytes (an entry begun, an event asked for), so
/// steps are what is counted: the feed may take as many as were looked through and answered.
///
/// Sendable invariant: every stored property is touched on `eventLoop` only, which the reader's
/// answers are sent to. `entries` points into the feed's batch, which the feed keeps alive until it begins
/// another or ends. Only `received` calls out, as its last step, so accesses can't overlap: the hot
/// properties go without the dynamic exclusivity check.
package final class FullDocumentPrefetcher: @unchecked Sendable {
  private let reader: any DocumentReader
  private let eventLoop: any EventLoop
  @exclusivity(unchecked) private var mapper: Mapper
  @exclusivity(unchecked) private var decoder: EventDecoder
  /// Called after an answer.
  private let onAnswer: @Sendable () -> Void

  private var generation: UInt64 = 0
  /// What is left of the feed's batch.
  private var entries: BSONElements?
  private var entryOpen = false

  /// Steps of the present stretch: as many as it has, the feed may take, and has taken.
  @exclusivity(unchecked) private var total = 0
  @exclusivity(unchecked) private var allowed = 0
  @exclusivity(unchecked) private var taken = 0
  private var request = ImageRequest()
  /// The events of the stretch that need an image, in order.
  private var slots: [Slot] = []
  private var nextSlot = 0
  private var answer: ImageAnswer?
  /// The number, within the request, of the answer's first image.
  private var firstAnswered = 0
  private(set) var isWaiting = false

  private struct Slot {
    var position: EventPosition
    var after: Int?
    var before: Int?
    /// Steps from the stretch's beginning up to and with the one that hands this event out.
    var step: Int
    var last: Int { max(after ?? -1, before ?? -1) }
  }

  /// One round trip serves so many events …
  private static let wantedAtOnce = 500
  /// … and a stretch without a wanted image is not looked through further than this at once.
  private static let stepsAtOnce = 20_000
  /// … nor for longer, since rules' conditions are judged, …
  private static let mostAtOnce = TimeAmount.milliseconds(10)
  /// … nor where the keys and names of its documents take so many bytes: a transaction may have any
  /// amount of them.
  private static let bytesAtOnce = 4 << 20
  /// After the system refused a thread to read on.
  private static let retryPause = TimeAmount.milliseconds(500)

  package init(
    reader: any DocumentReader, rules: [Rule], eventLoop: any EventLoop,
    onAnswer: @escaping @Sendable () -> Void
  ) {
    self.reader = reader
    self.eventLoop = eventLoop
    self.onAnswer = onAnswer
    mapper = Mapper(rules: rules, sourceName: "")
    decoder = EventDecoder(isUpdateWanted: rules.isUpdateWanted)
  }

  /// Nil where no rule wants documents that entries don't hold.
  convenience init?(
    _ configuration: BridgeConfiguration, eventLoop: any EventLoop, logger: Logger,
    onAnswer: @escaping @Sendable () -> Void
  ) {
    guard configuration.wantsImages else { return nil }
    self.init(
      reader: ImageReader(options: configuration.mongoSourceOptions, logger: logger),
      rules: configuration.rules, eventLoop: eventLoop, onAnswer: onAnswer)
  }

  /// The stage for other rules, which reads by the same connection; nil where none wants documents.
  static func replacing(
    _ old: FullDocumentPrefetcher?, _ configuration: BridgeConfiguration, eventLoop: any EventLoop,
    logger: Logger, onAnswer: @escaping @Sendable () -> Void
  ) -> FullDocumentPrefetcher? {
    guard let old, configuration.wantsImages else {
      return FullDocumentPrefetcher(
        configuration, eventLoop: eventLoop, logger: logger, onAnswer: onAnswer)
    }
    return FullDocumentPrefetcher(
      reader: old.reader, rules: configuration.rules, eventLoop: eventLoop, onAnswer: onAnswer)
  }

  /// A new epoch.
  func begin() {
    end()
    decoder.forgetTransactions()
    generation = reader.restart()
  }

  func end() {
    entries = nil
    entryOpen = false
    forget()
    if isWaiting {
      isWaiting = false
      generation = reader.restart()
    }
  }

  private func forget() {
    total = 0
    allowed = 0
    taken = 0
    slots.removeAll(keepingCapacity: true)
    nextSlot = 0
    firstAnswered = 0
    answer = nil
    request.removeAll()
  }

  /// The feed has begun a batch, and finished the previous one.
  func begin(_ batch: EventBatch) {
    entries = batch.entries()
    decoder.begin(batch)
  }

  /// Whether the feed may take its next step. False: it waits for an answer, after which `onAnswer` is called.
  func mayStep() -> Bool {
    if taken < allowed { return true }
    if isWaiting { return false }
    guard taken == total else {
      // The answer was cut short: its documents were large.
      askForRest()
      return false
    }
    return lookAhead()
  }

  func step() { taken += 1 }

  var status: ImageStatus { reader.status }

  /// The event with its images.
  func complete(_ event: ChangeEvent) -> ChangeEvent {
    guard nextSlot < slots.count, slots[nextSlot].position == event.position, let answer else {
      return event
    }
    let slot = slots[nextSlot]
    nextSlot += 1
    var event = event
    if let number = slot.after {
      let image = answer[number - firstAnswered]
      event.image = image.kind
      event.fullDocument = image.document
    }
    if let number = slot.before {
      event.fullDocumentBeforeChange = answer[number - firstAnswered].document
    }
    return event
  }

  // MARK: - Ahead of the feed

  /// Looks through the next stretch. True: nothing is to be fetched for it.
  private func lookAhead() -> Bool {
    forget()
    let end = NIODeadline.now() + Self.mostAtOnce
    while total < Self.stepsAtOnce, request.count < Self.wantedAtOnce,
      request.byteCount < Self.bytesAtOnce, lookAtStep(), total & 3 != 0 || NIODeadline.now() < end
    {}
    guard request.count > 0 else {
      allowed = total
      return true
    }
    submit()
    return false
  }

  /// Takes one step; false at the batch's end, and at an error that ends the feed too.
  private func lookAtStep() -> Bool {
    do throws(OplogError) {
      if entryOpen {
        total += 1
        if let event = try decoder.next() { note(event) } else { entryOpen = false }
        return true
      }
      guard let element = try? entries?.next(), let entry = element.document else { return false }
      total += 1
      _ = try decoder.begin(entry)
      entryOpen = true
      return true
    } catch {
      // The feed gets the same error at the same step, and may pass over it.
      entryOpen = false
      if case .missingEarlierEntries = error.reason { return true }
      return false
    }
  }

  private func note(_ event: ChangeEvent) {
    let wanted = mapper.wantedImages(event)
    guard !wanted.isEmpty || mapper.watchesImages(in: event) || !event.isOfDocument else { return }
    let after = request.add(event, wanted: wanted.contains(.after))
    var before: Int?
    if wanted.contains(.before), let collection = event.collectionUUID,
      let place = decoder.operationPlace
    {
      before = request.addPreImage(
        collection: collection, entry: place.entry, operation: place.operation)
    }
    guard after != nil || before != nil else { return }
    slots.append(Slot(position: event.position, after: after, before: before, step: total))
  }

  private func submit() {
    isWaiting = true
    let isSubmitted = reader.submit(request, generation: generation) { [self] answer in
      eventLoop.execute { self.received(answer) }
    }
    guard !isSubmitted else { return }
    let generation = generation
    eventLoop.scheduleTask(in: Self.retryPause) { [self] in
      if isWaiting, self.generation == generation { submit() }
    }
  }

  private func askForRest() {
    guard nextSlot < slots.count else { return }
    let first = min(slots[nextSlot].after ?? .max, slots[nextSlot].before ?? .max)
    request = request.remaining(from: first - firstAnswered)
    firstAnswered = first
    submit()
  }

  private func received(_ answer: ImageAnswer) {
    guard isWaiting, answer.generation == generation else { return }
    isWaiting = false
    self.answer = answer
    let answered = firstAnswered + answer.count
    // Up to the step before the first event that still lacks an image.
    allowed = slots[nextSlot...].first { $0.last >= answered }.map { $0.step - 1 } ?? total
    onAnswer()
  }
}

extension ChangeEvent {
  fileprivate var isOfDocument: Bool { OperationSet.documents.contains(operation) }
}

extension BridgeConfiguration {
  /// Whether some rule wants documents that entries don't hold.
  fileprivate var wantsImages: Bool {
    rules.contains { $0.fullDocument != .off || $0.fullDocumentBeforeChange != .off }
  }
}
