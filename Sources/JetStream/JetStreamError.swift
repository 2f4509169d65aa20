/// What JetStream (or the way to it) refused, and what to make of it.
public struct JetStreamError: Error, Sendable, CustomStringConvertible {
  /// How a caller continues.
  public enum Remedy: Sendable, Equatable {
    /// The stream's tail is not what we believed: read it again, then resend in order.
    case reread
    /// The server cannot take it now: wait, then read the tail again.
    case backOff
    /// This one message can never be stored as it is.
    case rejectMessage
    /// Configuration or the stream itself must change first; keep trying slowly, say so loudly.
    case operatorMustAct
  }

  /// JetStream's `err_code`, or 0.
  public var code: Int
  /// What was being done: an API subject, a stream.
  public var operation: String
  public var message: String
  public var remedy: Remedy
  /// The answer's `code`, with HTTP's meanings, or 0.
  public var status = 0
  /// Something that this program does not work with, whatever the server says.
  public var isUnsupported = false

  public init(code: Int, operation: String, message: String, remedy: Remedy) {
    self.code = code
    self.operation = operation
    self.message = message
    self.remedy = remedy
  }

  /// From an `err_code` of the server.
  public init(code: Int, operation: String, serverSays: String = "") {
    let known = Self.meaning(of: code)
    let text = serverSays.isEmpty ? known.text : "\(serverSays) (\(known.text))"
    self.init(code: code, operation: operation, message: text, remedy: known.remedy)
    meansDuplicate = code == 10201
  }

  /// The stream holds an id already that was about to be published.
  public internal(set) var meansDuplicate = false

  /// The message asserted a fence (`LaneOptions.Fence`) that isn't the last one any more.
  public internal(set) var meansFenceMoved = false

  /// A stream has ids that were about to be published.
  public static func duplicates(in stream: String, _ message: String) -> JetStreamError {
    var error = JetStreamError(
      code: 0, operation: "publish to \(stream)", message: message, remedy: .reread)
    error.meansDuplicate = true
    return error
  }

  public var description: String {
    code == 0 ? "\(operation): \(message)" : "\(operation): \(message) [JetStream \(code)]"
  }

  /// The codes that a publisher can meet (server/errors.json of nats-server 2.9 to 2.15).
  static func meaning(of code: Int) -> (text: String, remedy: Remedy) {
    switch code {
    case 10071: ("the stream's last sequence is not the expected one", .reread)
    case 10070: ("the stream's last message id is not the expected one", .reread)
    case 10164:
      (
        "an earlier write to the subject is not confirmed: if that lasts, the stream has no quorum",
        .backOff
      )
    case 10158, 10201: ("a message id is a duplicate that is not settled yet", .reread)
    case 10167: ("the server's ingest queue is full", .backOff)
    case 10174: ("atomic batches are not enabled on the stream: set allow_atomic", .reread)
    case 10205: ("fast ingest is not enabled on the stream: set allow_batched", .reread)
    case 10175, 10176, 10177, 10179, 10199, 10206, 10207, 10208:
      ("the batch was abandoned", .reread)
    case 10210, 10211: ("too many batches in flight", .backOff)
    case 10097: ("the headers are larger than JetStream stores", .rejectMessage)
    case 10054: ("the message is larger than the stream's max_msg_size", .rejectMessage)
    case 10052:
      ("its settings contradict each other, or what the stream is already", .operatorMustAct)
    case 10065: ("a subject belongs to one stream", .operatorMustAct)
    case 10074: ("one server keeps one replica", .operatorMustAct)
    case 10059: ("the stream does not exist", .operatorMustAct)
    case 10109: ("the stream is sealed", .operatorMustAct)
    case 10077:
      ("the stream could not store it: raise its limits, or free space", .operatorMustAct)
    case 10047: ("the server is out of storage for JetStream", .operatorMustAct)
    case 10023: ("the account has insufficient JetStream resources", .operatorMustAct)
    case 10028: ("the JetStream account limit is reached", .operatorMustAct)
    case 10060: ("a message is expected on another stream", .operatorMustAct)
    case 10076, 10039: ("JetStream is not enabled for this account", .operatorMustAct)
    case 10008: ("JetStream is temporarily unavailable", .backOff)
    case 10009: ("no JetStream leader yet", .backOff)
    default: ("refused by JetStream", .backOff)
    }
  }
}
