import JSON
import JetStream
import Testing

@Suite struct FinalRefusalTests {
  private func refusal(_ operation: String, _ code: Int, _ status: Int, _ words: String = "")
    -> JetStreamError
  {
    JetStreamError(
      operation,
      refusedWith: [
        "code": .int(status), "err_code": .int(code), "description": .string(words),
      ])
  }

  @Test(arguments: [
    ("STREAM.CREATE.S", 10052, 500), ("STREAM.UPDATE.S", 10065, 400),
    ("STREAM.CREATE.S", 10074, 500), ("STREAM.CREATE.S", 10113, 400),
    ("CONSUMER.DURABLE.CREATE.S.C", 10094, 400), ("STREAM.CREATE.S", 10999, 400),
  ])
  func noWaitingHelps(_ operation: String, _ code: Int, _ status: Int) {
    #expect(refusal(operation, code, status).isFinal)
  }

  @Test(arguments: [
    // Others leave room, servers come back, somebody who made the same is seen.
    ("STREAM.CREATE.S", 10027, 400), ("STREAM.CREATE.S", 10002, 400),
    ("STREAM.CREATE.S", 10005, 400), ("STREAM.CREATE.S", 10047, 500),
    ("STREAM.CREATE.S", 10023, 503), ("STREAM.CREATE.S", 10008, 503),
    ("STREAM.CREATE.S", 10058, 400), ("STREAM.CREATE.S", 10049, 500),
    ("CONSUMER.DURABLE.CREATE.S.C", 10026, 400), ("CONSUMER.DURABLE.CREATE.S.C", 10104, 500),
    // Not about what is to be made.
    ("STREAM.INFO.S", 10059, 404), ("STREAM.MSG.GET.S", 10003, 400),
  ])
  func waitingMayHelp(_ operation: String, _ code: Int, _ status: Int) {
    #expect(!refusal(operation, code, status).isFinal)
  }

  /// One code for whatever fails: only the words tell.
  @Test func consumersThatCannotBeUpdated() {
    let operation = "CONSUMER.DURABLE.CREATE.S.C"
    #expect(refusal(operation, 10012, 500, "ack policy can not be updated").isFinal)
    #expect(!refusal(operation, 10012, 500, "no space left on device").isFinal)
  }
}
