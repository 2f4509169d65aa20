/// The metrics of what is published, and of what keeps it from being published.
enum PublishMetrics {
  static func append(_ facts: StatusBoard.Facts, to page: inout PrometheusText) {
    page.histogram(
      "tailrace_write_to_stored_seconds",
      "From the write in MongoDB to the ack of its message, by MongoDB's clock.",
      facts.measures.writeToStored)
    page.histogram(
      "tailrace_received_to_stored_seconds",
      "From the arrival of an entry, which a majority has by then, to the ack of its message.",
      facts.measures.receivedToStored)
    page.histogram(
      "tailrace_publish_ack_seconds",
      "From sending a message to its ack, of one message of each stream at a time.",
      facts.measures.publishAck)
    page.histogram(
      "tailrace_ack_messages", "Messages acknowledged at once.", facts.measures.acknowledged)
    page.histogram(
      "tailrace_validation_seconds", "How long schemas take, of every 64th body.",
      facts.measures.validation)
    page.counter(
      "tailrace_sent_bytes_total", "Bytes written to NATS for streams, headers included.",
      facts.measures.bytes)
    page.family(
      "tailrace_epoch_ends_total", "counter", "How epochs of publishing ended, by reason.")
    for kind in EpochEnd.Kind.allCases {
      page.sample(
        "tailrace_epoch_ends_total", ["reason": kind.rawValue],
        Double(facts.epochEnds[kind] ?? 0))
    }
    page.family("tailrace_refusals_total", "counter", "Refusals since the process began, by whom.")
    for (scope, count) in facts.refused.sorted(by: { $0.key < $1.key }) {
      page.sample("tailrace_refusals_total", ["by": scope.description], Double(count))
    }
    page.family(
      "tailrace_dead_letters_total", "counter", "Dead letters of this process, by rule and error.")
    for letters in facts.letters {
      page.sample(
        "tailrace_dead_letters_total", ["rule": letters.rule, "error": letters.error],
        Double(letters.count))
    }
    append(facts.storage, to: &page)
  }

  private static func append(
    _ storage: [String: StreamStorage], to page: inout PrometheusText
  ) {
    let streams = storage.sorted { $0.key < $1.key }
    func held(_ name: String, _ help: String, _ value: (StreamStorage) -> UInt64) {
      page.family(name, "gauge", help)
      for (stream, storage) in streams {
        page.sample(name, ["stream": stream], Double(value(storage)))
      }
    }
    func limit(_ name: String, _ help: String, _ value: (StreamStorage) -> Int?) {
      page.family(name, "gauge", help)
      for (stream, storage) in streams {
        guard let value = value(storage) else { continue }
        let discard = storage.discardsOld ? "old" : "new"
        page.sample(name, ["stream": stream, "discard": discard], Double(value))
      }
    }
    held("tailrace_stream_messages", "Messages that the stream holds.", \.messages)
    held("tailrace_stream_bytes", "Bytes that the stream holds.", \.bytes)
    limit("tailrace_stream_max_messages", "Its max_msgs; absent without one.", \.maximumMessages)
    limit("tailrace_stream_max_bytes", "Its max_bytes; absent without one.", \.maximumBytes)
  }
}
