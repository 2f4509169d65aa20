public import Bytes
import DeliberateErrors

/// One stream's publisher within one connection epoch: writes complete protocol lines into
/// `output`, counts what is in flight and understands the acks. It does no I/O.
///
/// A lane never repairs itself. Whatever goes wrong ends the epoch: the caller reads the stream's
/// tail again and starts a new lane behind it. Not thread-safe: owned by one event loop.
/// `output` is written by one caller at a time, between `beginMessage` and `endMessage` (or
/// `cancelMessage`), and taken to the socket outside of them; no method
/// here calls out; hence no dynamic exclusivity checks on the hot properties.
public final class PublishLane {
  public let options: LaneOptions
  /// Bytes that are complete but not yet with the socket (besides an open message).
  ///
  /// Not the stored property itself: another module would check each access to that one.
  public var output: ByteWriter {
    _read { yield bytes }
    _modify { yield &bytes }
  }
  @exclusivity(unchecked) private var bytes = ByteWriter(capacity: 256 << 10)

  /// Messages written (and not discarded) in this epoch.
  @exclusivity(unchecked) public internal(set) var sent: UInt64 = 0
  /// Messages known to be stored in this epoch.
  @exclusivity(unchecked) public internal(set) var acked: UInt64 = 0
  /// Stream sequence of the last message known to be stored.
  public internal(set) var lastSequence: UInt64
  /// Protocol that is really in use.
  public let mode: PublishProtocol

  let inbox: [UInt8]
  /// Header lines that assert `LaneOptions.fence`; empty where there is none.
  let fenceLines: [UInt8]
  @exclusivity(unchecked) var bytesInFlight = 0
  /// Sizes of messages in flight, oldest first, so that the byte window can shrink with acks.
  @exclusivity(unchecked) var sizes = FIFO<Int32>()

  /// Where the parts of a message stand in `output`.
  struct Place {
    var start = 0
    var reply = 0
    var sizes = 0
    var headers = 0
    /// Behind the header lines that are the caller's.
    var ownEnd = 0
    var headersEnd = 0
    /// Fast: the operation in the reply subject.
    var operation = 0
  }
  /// The message being written, which may yet be discarded, …
  @exclusivity(unchecked) var open = Place()
  /// … and the last that was not, which a seal makes its batch's end.
  @exclusivity(unchecked) private var last = Place()

  // Ids of the open message and of the one before: the chain asserts them besides the sequence. A
  // sequence alone is not enough in a pipeline: one foreign message makes the server refuse the next
  // of ours and then take the one after it, whose sequence fits by coincidence.
  @exclusivity(unchecked)
  var idOfLast: [UInt8] = []
  @exclusivity(unchecked)
  var idOfThis: [UInt8] = []

  // The batch being written (atomic and fast).
  var batchNumber: UInt64 = 0
  @exclusivity(unchecked) var inBatch = 0
  /// Fast: batch sequence acked so far; for the window.
  @exclusivity(unchecked) var batchAcked = 0
  /// Fast: subjects of the last message and of the open one.
  @exclusivity(unchecked) var subjectOfLast: [UInt8] = []
  @exclusivity(unchecked) var subjectOfThis: [UInt8] = []
  /// Fast: sealed (commit sent), waiting for the batch's final ack.
  var sealed = false
  var batchBase: UInt64
  /// Atomic: sizes of committed batches in flight, oldest first.
  var batches = FIFO<Int32>()
  /// Sequence that the next message (or batch) must follow, if all in flight is stored.
  @exclusivity(unchecked) var expectedSequence: UInt64
  var flowEvery = PublishLane.requestedFlow
  /// Messages written to the wire in this epoch, and those of them that are acknowledged: they differ
  /// from `sent` and `acked` where ids are looked up first.
  @exclusivity(unchecked) var lines: UInt64 = 0
  @exclusivity(unchecked) var linesAcked: UInt64 = 0
  /// Nil: messages go out as they are written.
  @exclusivity(unchecked) var stage: Stage?
  /// Originals are read from any server, not from the leader alone (`PublishLane+Originals`).
  var readsDirectly: Bool
  /// The messages of `stage`.
  @exclusivity(unchecked) var staged = ByteWriter(capacity: 64)
  /// Messages that come after those of `stage`, and where they are in `collecting`. It is in `output`'s
  /// place while a message is written (`isStaging`).
  var ahead: [Stage.Message] = []
  @exclusivity(unchecked) var collecting = ByteWriter(capacity: 64)
  @exclusivity(unchecked) var isStaging = false
  var longestID = 0
  /// Of the messages of `stage`, by id (`findRepeats`).
  var firstOfID: [StoredIDs.Key: Int] = [:]
  /// Nil also where the server has contradicted it.
  var known: StoredIDs?
  /// For so many batches, what is not known is asked for: somebody else stores ids meanwhile.
  var asksForUnknown = 0

  static let requestedFlow = 200
  static let maximumBatch = 1000
  /// With two in flight, a foreign message as large as the first could let the second through.
  static let maximumBatchesInFlight = 1
  static let maximumFastBatch = 10_000
  /// Distinct reply subjects: few, so that the server's subject cache always hits; the acks come
  /// in order, so the number only has to tell neighbours apart.
  static let replyCycle: UInt64 = 512
  static let sizeDigits = 8
  /// The protocol's headers take no more than 256 bytes of a message, so that its size decides whether it
  /// can be sent, and nothing before it; `Nats-Expected-Last-Sequence` and the name of this header take
  /// some 80 of them.
  static let longestAsserted = 128

  public init(_ options: LaneOptions) {
    self.options = options
    self.mode = options.mode
    self.inbox = Array(options.inbox.utf8)
    fenceLines = options.exclusive ? [] : options.fence?.assertion ?? []
    self.lastSequence = options.baseSequence
    self.expectedSequence = options.baseSequence
    self.batchBase = options.baseSequence
    self.readsDirectly = options.readsDirectly
    if Self.takesKnownIDs(options.mode) { known = options.known }
    if options.screening != .never { stage = Stage() }
  }

  public var inFlight: Int { Int(sent &- acked) }

  /// Whether one more message may be written now.
  public var canSend: Bool {
    guard bytesInFlight < options.windowBytes else { return false }
    if let stage { return canCollect(beside: stage) }
    switch mode {
    case .single: return inFlight == 0
    case .chain:
      // What can't name its predecessor waits until that is stored.
      return inFlight < options.window && (inFlight == 0 || idOfLast.count <= Self.longestAsserted)
    case .atomic:
      return batches.count < Self.maximumBatchesInFlight
        && inFlight < max(options.window, Self.maximumBatch)
    case .fast:
      return !sealed && inBatch - batchAcked < max(2 * flowEvery, 1)
    }
  }

  // MARK: - Writing a message

  /// Opens a message; its subject is written into `output` next.
  public func beginMessage() {
    if stage != nil {
      swap(&output, &collecting)
      isStaging = true
    }
    beginLine()
  }

  func beginLine() {
    open.start = output.count
    output.append("HPUB ")
  }

  /// The subject is complete: writes the reply subject and the head of the headers.
  public func beginHeaders() {
    let subjectStart = open.start &+ 5
    open.reply = output.count
    if isStaging {
      output.append(" ")
      open.headers = output.count
      output.append("NATS/1.0\r\n")
      return
    }
    if mode == .fast {
      subjectOfThis.removeAll(keepingCapacity: true)
      subjectOfThis.append(contentsOf: output.bytes[subjectStart..<output.count])
    }
    output.append(UInt8(ascii: " "))
    switch mode {
    case .chain, .single:
      output.append(inbox)
      output.append(UInt8(ascii: "."))
      output.append(decimal: lines % Self.replyCycle)
      output.append(UInt8(ascii: " "))
    case .fast:
      writeFastReply(sequence: inBatch + 1, operation: inBatch == 0 ? 0 : 1)
    case .atomic: break
    }
    open.sizes = output.appendPlaceholder(Self.sizeDigits)
    output.append(UInt8(ascii: " "))
    _ = output.appendPlaceholder(Self.sizeDigits)
    output.append("\r\n")
    open.headers = output.count
    output.append("NATS/1.0\r\n")
  }

  /// The mapped headers are complete: adds the protocol's own and ends the head.
  public func beginBody() {
    open.ownEnd = output.count
    if isStaging {
      open.headersEnd = output.count
      output.append("\r\n")
      return
    }
    switch mode {
    case .chain:
      if options.assertsPredecessor { noteID() }
      if !idOfLast.isEmpty, lines > 0, idOfLast.count <= Self.longestAsserted {
        output.append("Nats-Expected-Last-Msg-Id: ")
        output.append(idOfLast)
        output.append("\r\n")
      }
      writeExpectedSequence()
    case .single:
      if options.exclusive { writeExpectedSequence() } else { output.append(fenceLines) }
    case .fast:
      // Each, not only a batch's first: the server keeps a batch open for ten seconds, in which a publisher that was
      // frozen could continue it behind what its successor has stored.
      if inBatch == 0 || !DeliberateError.isOn(.firstOfBatchAsserts) {
        if options.exclusive {
          writeExpectedSequence()
        } else if inBatch == 0 || !options.isReplicated {
          // A replicated stream refuses an assertion of a subject while one like it is under way (10164).
          output.append(fenceLines)
        }
      }
    case .atomic:
      if inBatch == 0 {
        if options.exclusive { writeExpectedSequence() } else { output.append(fenceLines) }
      }
      output.append("Nats-Batch-Id: ")
      writeBatchID()
      output.append("\r\nNats-Batch-Sequence: ")
      output.append(decimal: UInt64(inBatch + 1))
      output.append("\r\n")
    }
    open.headersEnd = output.count
    output.append("\r\n")
  }

  /// The body of the message being written, so far. Valid until something is written.
  public var body: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: output.bytes[(open.headersEnd + 2)...])
  }

  /// Size of the open message as the server counts it: headers and body.
  public var messageSize: Int {
    output.count - open.headers + (isStaging ? stagedAddition : 0)
  }

  /// The same without what the protocol adds.
  public var ownSize: Int {
    open.ownEnd - open.headers + 2 + output.count - open.headersEnd - 2
  }

  /// The body is complete: the message counts as sent.
  public func endMessage() {
    if isStaging { return stageMessage() }
    endLine()
    let size = output.count - open.start
    sizes.append(Int32(clamping: size))
    bytesInFlight += size
    sent &+= 1
    if mode == .atomic, inBatch == Self.maximumBatch { seal() }
    if mode == .fast, inBatch == Self.maximumFastBatch { seal() }
  }

  /// Completes the open message's protocol line.
  func endLine() {
    let total = output.count - open.headers
    output.patch(
      decimal: open.headersEnd + 2 - open.headers, at: open.sizes, width: Self.sizeDigits)
    output.patch(decimal: total, at: open.sizes + Self.sizeDigits + 1, width: Self.sizeDigits)
    output.append("\r\n")
    last = open
    if mode == .fast { swap(&subjectOfLast, &subjectOfThis) }
    if mode == .chain, options.assertsPredecessor { swap(&idOfLast, &idOfThis) }
    lines &+= 1
    expectedSequence &+= 1
    if mode == .fast || mode == .atomic { inBatch += 1 }
  }

  /// Takes the open message back, as if it had never been begun.
  public func cancelMessage() {
    output.truncate(to: open.start)
    if isStaging { stopStaging() }
  }

  /// Nothing more comes for now: whatever is open must become final, so that it is acknowledged.
  public func seal() {
    if stage != nil { return lookUpStaged() }
    sealBatch()
  }

  /// Ends the batch that is open on the wire.
  func sealBatch() {
    switch mode {
    case .chain, .single: return
    case .atomic:
      guard inBatch > 0 else { return }
      commitAtomic()
      batches.append(Int32(inBatch))
      batchNumber &+= 1
      inBatch = 0
    case .fast:
      guard inBatch > 0, !sealed else { return }
      if output.count > 0 {
        // The last message is still here: make it the commit.
        output.patch(UInt8(ascii: "2"), at: last.operation)
      } else {
        writeEndOfBatch()
      }
      sealed = true
    }
  }

  /// Whether `seal()` has something to do.
  public var hasOpenBatch: Bool {
    if let stage { return stage.phase == .collecting && !ahead.isEmpty }
    return inBatch > 0 && !sealed
  }

  /// Whether no further ack can come unless the open batch is sealed.
  public var waitsForSeal: Bool {
    if stage != nil { return hasOpenBatch }
    return switch mode {
    case .chain, .single: false
    case .atomic: inBatch > 0 && batches.isEmpty
    case .fast: inBatch > 0 && !sealed && inBatch - batchAcked < flowEvery
    }
  }

  /// Whether `output` may go to the socket now. An atomic batch's last message must still be at
  /// hand when the batch is sealed.
  public var mayFlush: Bool {
    if let stage { return stage.phase != .collecting }
    return mode != .atomic || inBatch == 0
  }

  /// Remembers the id of the open message, which `Nats-Msg-Id` begins its headers with.
  private func noteID() {
    let first = open.headers &+ 10 &+ 13
    idOfThis.removeAll(keepingCapacity: true)
    var at = first
    while at < output.count, output.bytes[at] != 13 { at &+= 1 }
    if at > first { idOfThis.append(contentsOf: output.bytes[first..<at]) }
  }

  private func writeExpectedSequence() {
    output.append("Nats-Expected-Last-Sequence: ")
    output.append(decimal: expectedSequence)
    output.append("\r\n")
  }

  private func writeBatchID() {
    output.append(options.batchPrefix)
    output.append(UInt8(ascii: "-"))
    output.append(decimal: batchNumber)
  }

  /// `<inbox>.<batch id>.<flow>.<gap>.<sequence>.<operation>.$FI` and a space.
  private func writeFastReply(sequence: Int, operation: UInt8) {
    output.append(inbox)
    output.append(UInt8(ascii: "."))
    writeBatchID()
    output.append(UInt8(ascii: "."))
    output.append(decimal: UInt64(Self.requestedFlow))
    output.append(DeliberateError.isOn(.gapIgnored) ? ".ok." : ".fail.")
    output.append(decimal: UInt64(sequence))
    output.append(UInt8(ascii: "."))
    open.operation = output.count
    output.append(UInt8(ascii: "0") &+ operation)
    output.append(".$FI ")
  }

  /// Fast ingest's end of batch without a message (operation 3).
  private func writeEndOfBatch() {
    output.append("PUB ")
    output.append(subjectOfLast)
    output.append(UInt8(ascii: " "))
    writeFastReply(sequence: inBatch + 1, operation: 3)
    output.append("0\r\n\r\n")
  }

  /// Turns the last message written into the batch's commit: it gets a reply subject and the
  /// commit header, and its sizes grow accordingly.
  private func commitAtomic() {
    var reply = inbox
    reply.append(UInt8(ascii: "."))
    reply.append(contentsOf: String(batchNumber % Self.replyCycle).utf8)
    reply.append(UInt8(ascii: " "))
    let commit = Array("Nats-Batch-Commit: 1\r\n".utf8)
    let headerLength = last.headersEnd + 2 - last.headers + commit.count
    let bodyLength = output.count - 2 - (last.headersEnd + 2)
    output.insert(commit, at: last.headersEnd)
    output.clear(at: last.sizes, width: Self.sizeDigits)
    output.clear(at: last.sizes + Self.sizeDigits + 1, width: Self.sizeDigits)
    output.patch(decimal: headerLength, at: last.sizes, width: Self.sizeDigits)
    output.patch(
      decimal: headerLength + bodyLength, at: last.sizes + Self.sizeDigits + 1,
      width: Self.sizeDigits)
    output.insert(reply, at: last.reply + 1)
  }
}
