/// Why a server refused something, with its code. Texts are made only when asked for.
public enum Refusal: Error, Sendable, Equatable {
  // Publishing.
  case sealed
  case expectedStreamDiffers
  case messageTTLDisabled
  case messageTTLInvalid
  case wrongLastSequence(UInt64)
  /// The sequence can't be compared while another message of the subject is under way.
  case wrongLastSequenceInFlight
  case subjectSequenceMissing
  case wrongLastMessageID(String)
  case rollupFailed(String)
  case messageTooLarge
  case headersTooLarge
  case storeFailed(StoreFailure)
  case duplicateInProcess
  case sourceHeaderNotAllowed
  case insufficientResources
  case sequenceNotMatched
  // Atomic batches.
  case atomicDisabled
  case atomicInvalidID
  case atomicMissingSequence
  case atomicIncomplete
  case atomicInvalidCommit
  case atomicTooLarge
  case atomicUnsupportedHeader(String)
  case atomicDuplicate
  case atomicTooMany
  // Fast batches.
  case fastDisabled
  case fastInvalidPattern
  case fastInvalidID
  case fastUnknownID
  case fastTooMany
  // Administration.
  case badRequest
  case invalidJSON(String)
  case streamNotFound
  case streamNameInUse
  case streamNameMismatch
  case subjectsOverlap
  case invalidConfiguration(String)
  case replicasNotSupported
  case noMessage
  case sequenceNotFound(UInt64)
  case messageDeleteFailed(String)
  case purgeFailed(String)
  case notEmpty
  case unavailable
  case tooManyStreams
  case storageExceeded
  // Consumers.
  case consumerNotFound
  case consumerDoesNotExist
  case durableNameMismatch
  case consumer(_ status: Int, _ code: Int, _ text: String)

  static func startInvalid(_ why: String) -> Refusal {
    .consumer(400, 10094, "consumer delivery policy is deliver \(why)")
  }

  public enum StoreFailure: String, Sendable {
    case messages = "maximum messages exceeded"
    case bytes = "maximum bytes exceeded"
    case messagesPerSubject = "maximum messages per subject exceeded"
  }

  /// JetStream's `err_code`.
  public var code: Int { parts.code }
  /// With HTTP's meaning.
  public var status: Int { parts.status }
  public var text: String { parts.text }

  private var parts: (status: Int, code: Int, text: String) {
    switch self {
    case .sealed: (400, 10109, "invalid operation on sealed stream")
    case .expectedStreamDiffers: (400, 10060, "expected stream does not match")
    case .messageTTLDisabled: (400, 10166, "per-message TTL is disabled")
    case .messageTTLInvalid: (400, 10165, "invalid per-message TTL")
    case .wrongLastSequence(let last): (400, 10071, "wrong last sequence: \(last)")
    case .wrongLastSequenceInFlight: (400, 10164, "wrong last sequence")
    case .subjectSequenceMissing:
      (400, 10193, "missing sequence for expected last sequence per subject")
    case .wrongLastMessageID(let id): (400, 10070, "wrong last msg ID: \(id)")
    case .rollupFailed(let why): (500, 10111, why)
    case .messageTooLarge: (400, 10054, "message size exceeds maximum allowed")
    case .headersTooLarge: (400, 10097, "header size exceeds maximum allowed of 64k")
    case .storeFailed(let why): (503, 10077, why.rawValue)
    case .duplicateInProcess: (409, 10158, "duplicate message id is in process")
    case .sourceHeaderNotAllowed:
      (400, 10227, "message stream source header is not allowed")
    case .insufficientResources: (503, 10023, "insufficient resources")
    case .sequenceNotMatched: (503, 10063, "expected stream sequence does not match")
    case .atomicDisabled: (400, 10174, "atomic publish is disabled")
    case .atomicInvalidID: (400, 10179, "atomic publish batch ID is invalid")
    case .atomicMissingSequence: (400, 10175, "atomic publish sequence is missing")
    case .atomicIncomplete: (400, 10176, "atomic publish batch is incomplete")
    case .atomicInvalidCommit: (400, 10200, "atomic publish batch commit is invalid")
    case .atomicTooLarge:
      (400, 10199, "atomic publish batch is too large: \(ServerRules.largestAtomicBatch)")
    case .atomicUnsupportedHeader(let name):
      (400, 10177, "atomic publish unsupported header used: \(name)")
    case .atomicDuplicate: (400, 10201, "atomic publish batch contains duplicate message id")
    case .atomicTooMany: (429, 10210, "atomic publish too many inflight")
    case .fastDisabled: (400, 10205, "batch publish is disabled")
    case .fastInvalidPattern: (400, 10206, "batch publish pattern is invalid")
    case .fastInvalidID: (400, 10207, "batch publish ID is invalid")
    case .fastUnknownID: (400, 10208, "batch publish ID unknown")
    case .fastTooMany: (429, 10211, "batch publish too many inflight")
    case .badRequest: (400, 10003, "bad request")
    case .invalidJSON(let why): (400, 10025, why)
    case .streamNotFound: (404, 10059, "stream not found")
    case .streamNameInUse: (400, 10058, "stream name already in use with a different configuration")
    case .streamNameMismatch: (400, 10056, "stream name in subject does not match request")
    case .subjectsOverlap: (400, 10065, "subjects overlap with an existing stream")
    case .invalidConfiguration(let why): (500, 10052, why)
    case .replicasNotSupported: (500, 10074, "replicas > 1 not supported in non-clustered mode")
    case .noMessage: (404, 10037, "no message found")
    case .sequenceNotFound(let sequence): (400, 10043, "sequence \(sequence) not found")
    case .messageDeleteFailed(let why): (500, 10057, why)
    case .purgeFailed(let why): (500, 10110, why)
    case .notEmpty: (400, 10038, "expected an empty request payload")
    case .unavailable: (503, 10008, "JetStream system temporarily unavailable")
    case .tooManyStreams: (400, 10027, "maximum number of streams reached")
    case .storageExceeded: (500, 10047, "insufficient storage resources available")
    case .consumerNotFound: (404, 10014, "consumer not found")
    case .consumerDoesNotExist: (400, 10149, "consumer does not exist")
    case .durableNameMismatch:
      (400, 10017, "consumer name in subject does not match durable name in request")
    case .consumer(let status, let code, let text): (status, code, text)
    }
  }
}
