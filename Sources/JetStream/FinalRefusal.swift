public import JSON

extension JetStreamError {
  /// From the `error` of an answer.
  public init(_ operation: String, refusedWith failure: JSONValue) {
    self.init(
      code: failure["err_code"]?.integer() ?? 0, operation: operation,
      serverSays: failure["description"]?.stringValue ?? "")
    status = failure["code"]?.integer() ?? 0
  }

  /// Whether the server will refuse the same request again, however often it is sent: what was asked for
  /// is wrong in itself, or contradicts what is there.
  ///
  /// That is what 400 says, of streams and consumers that were to be made or changed. What is not there at
  /// the moment (room, servers, leaders) may come without anybody's changing the request.
  public var isFinal: Bool {
    if isUnsupported { return true }
    guard ["STREAM.CREATE.", "STREAM.UPDATE.", "CONSUMER."].contains(where: operation.hasPrefix)
    else { return false }
    if Self.finalFailures.contains(code) { return true }
    if code == Self.consumerCreateFailed { return Self.saysUnchangeable(message) }
    return status == 400 && !Self.passing.contains(code)
  }

  /// Of the request's own making, although the server takes them for its failures (500).
  private static let finalFailures: Set<Int> = [
    10052,  // invalid stream configuration
    10074,  // replicas without a cluster
    10036,  // not supported in clustered mode
  ]

  /// Whatever else made the server fail has this code as well.
  private static let consumerCreateFailed = 10012

  private static func saysUnchangeable(_ message: String) -> Bool {
    message.contains("can not be updated") || message.contains("can not update")
  }

  /// 400, and over without another request: others leave room, servers join, somebody who made the same at
  /// the same time is seen.
  private static let passing: Set<Int> = [
    10002,  // the account's resources
    10005,  // no servers for it
    10013,  // the consumer is in use
    10026,  // the account's or the stream's number of consumers
    10027,  // the account's number of streams
    10058,  // made meanwhile
    10105,  // the consumer is still active
    10124, 10129, 10226,  // a move
  ]
}
