import JSON
public import NATS
import NIOCore

/// What a stream said of one published message.
public struct PublishAck: Sendable, Equatable {
  public var stream: String
  public var sequence: UInt64
  /// The stream had this id already, and stored nothing.
  public var isDuplicate: Bool
}

// Single messages, for operators. The bridge publishes by `PublishLane`.
extension JetStreamClient {
  /// Publishes one message and waits for the stream's answer. Not repeated: after an error without a
  /// code it may have been stored or not.
  public func publish(
    _ subject: String, headers: NATSHeaders, payload: [UInt8]
  ) async throws(JetStreamError) -> PublishAck {
    let operation = "publish to \(subject)"
    func failure(_ message: String) -> JetStreamError {
      JetStreamError(code: 0, operation: operation, message: message, remedy: .backOff)
    }
    let answer: NATSMessage
    do {
      answer = try await connection.request(
        subject, headers: headers, payload: payload, timeout: .seconds(5))
    } catch {
      throw failure(
        error.code == .noResponders ? "no stream takes this subject" : error.description)
    }
    guard let json = try? JSONValue(parsing: answer.payload.readableBytesView) else {
      throw failure("the answer is no JSON")
    }
    if let refused = json["error"] {
      throw JetStreamError(
        code: refused["err_code"]?.integer() ?? 0, operation: operation,
        serverSays: refused["description"]?.stringValue ?? "")
    }
    guard let stream = json["stream"]?.stringValue, let sequence = json["seq"]?.integer(UInt64.self)
    else { throw failure("the answer is no ack: \(json.text())") }
    return PublishAck(
      stream: stream, sequence: sequence, isDuplicate: json["duplicate"]?.boolValue ?? false)
  }

  /// Takes one message out of a stream; false if it was not there.
  public func deleteMessage(
    in stream: String, at sequence: UInt64
  ) async throws(JetStreamError) -> Bool {
    do {
      _ = try await request(
        "STREAM.MSG.DELETE.\(stream)", ["seq": .int(sequence), "no_erase": true])
      return true
    } catch {
      // "no message found", or the sequence is beyond the stream.
      if error.code == 10037 || error.code == 10057 { return false }
      throw error
    }
  }
}
