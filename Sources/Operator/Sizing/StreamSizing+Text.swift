package import JSON

/// What `tailrace streams size` says.
extension StreamSizing {
  package var lines: [String] {
    let each = [
      "\(Self.amount(inbound))/s in", "\(Self.amount(replication))/s between servers",
      "\(Self.amount(outbound))/s to \(consumers) consumers",
    ]
    return [
      "load       \(Self.count(rate)) messages/s, \(Self.count(peak)) at the peak",
      "message    \(storedSize) bytes stored: \(body) of the body, \(headers) of headers, \(subject) of the subject, \(storedSize - body - headers - subject) of the record",
      "\(isInMemory ? "in memory " : "storage   ") \(Self.amount(bytesPerReplica)) on each of \(replicas) replicas, \(Self.amount(bytesOfAll)) in all: \(Self.count(messages)) messages",
      "memory     \(Self.amount(memoryPerReplica)) on each replica: \(Self.amount(subjectMemory)) for \(Self.count(Double(subjects))) subjects, \(Self.amount(idMemory)) for ids\(isInMemory ? ", and the messages" : ""), doubled, and 64.0 MiB",
      "network    \(each.joined(separator: ", ")), at the peak",
      streams == 1
        ? "streams    1 takes it"
        : "streams    \(streams), by a token of the subject: one takes \(Self.count(streamRate)) messages/s, a third of it in reserve",
      "max_bytes  \(Int64(min(bytesPerReplica / Double(streams) * 1.25, 9e18).rounded(.up))) of each stream: a quarter more than it needs",
    ]
  }

  package var json: JSONValue {
    func number(_ value: Double) -> JSONValue { .int(UInt64(min(value, 9e18).rounded(.up))) }
    return .object([
      .init("message_bytes", number(Double(storedSize))),
      .init("messages", number(messages)),
      .init("bytes_per_replica", number(bytesPerReplica)),
      .init("bytes", number(bytesOfAll)),
      .init("memory_per_replica", number(memoryPerReplica)),
      .init("memory_of_subjects", number(subjectMemory)),
      .init("memory_of_ids", number(idMemory)),
      .init("network_in", number(inbound)),
      .init("network_replication", number(replication)),
      .init("network_out", number(outbound)),
      .init("streams", number(Double(streams))),
    ])
  }

  /// Bytes, such as `4.2 GiB`.
  private static func amount(_ bytes: Double) -> String {
    var value = bytes
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
      if value < 1024 { return "\(tenths(value)) \(unit)" }
      value /= 1024
    }
    return "\(tenths(value)) PiB"
  }

  private static func tenths(_ value: Double) -> String {
    let rounded = (value * 10).rounded() / 10
    return rounded < 1e15 ? "\(rounded)" : "\(rounded.rounded())"
  }

  /// A number, its thousands apart.
  private static func count(_ value: Double) -> String {
    let digits = value < 10 ? "\(tenths(value))" : String(UInt64(min(value, 9e18).rounded()))
    guard value >= 10 else { return digits }
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { text.append(",") }
      text.append(digit)
    }
    return text
  }
}
