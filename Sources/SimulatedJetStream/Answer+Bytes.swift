public import Bytes

extension Answer {
  /// Writes the payload of the answers that publishers get all the time. False: another answer, see `message`.
  public func write(into out: inout ByteWriter, _ rules: ServerRules) -> Bool {
    switch self {
    case .stored(let stream, let sequence, let batch):
      Self.write(stream, sequence, batch, isDuplicate: false, into: &out, rules)
    case .duplicate(let stream, let sequence, let batch):
      Self.write(stream, sequence, batch, isDuplicate: true, into: &out, rules)
    case .flow(let sequence, let every):
      out.append("{\"type\":\"ack\",\"seq\":")
      out.append(decimal: sequence)
      out.append(",\"msgs\":")
      out.append(decimal: UInt64(every))
      out.append("}")
    case .receipt: break
    default: return false
    }
    return true
  }

  private static func write(
    _ stream: String, _ sequence: UInt64, _ batch: BatchCount?, isDuplicate: Bool,
    into out: inout ByteWriter, _ rules: ServerRules
  ) {
    out.append("{\"stream\":\"")
    out.append(stream)
    out.append(rules.spacesAcks ? "\", \"seq\":" : "\",\"seq\":")
    out.append(decimal: sequence)
    if isDuplicate { out.append(",\"duplicate\": true") }
    if let batch {
      out.append(",\"batch\":\"")
      out.append(batch.id)
      out.append("\",\"count\":")
      out.append(decimal: batch.count)
    }
    out.append("}")
  }
}
