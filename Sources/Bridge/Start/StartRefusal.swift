import JSON
package import JetStream

/// Why a start is refused until something is changed: the error of `run`, and the finding of `doctor` for the
/// same start in advance.
package struct StartRefusal: Error, Sendable, Equatable {
  /// The check, as `doctor` names it.
  package var check: String
  package var why: String
  /// Ready to paste.
  package var remedy: String

  package var error: BridgeError { .configuration(why) }

  package static func stream(_ name: String, _ why: String, remedy: String) -> StartRefusal {
    StartRefusal(check: "nats.stream.\(name)", why: "stream \(name): \(why)", remedy: remedy)
  }

  package static func consumer(
    _ name: String, of stream: String, _ why: String, remedy: String
  ) -> StartRefusal {
    StartRefusal(
      check: "nats.consumer.\(stream).\(name)", why: "consumer \(name) of stream \(stream): \(why)",
      remedy: remedy)
  }

  package static func bucket(_ name: String, _ why: String, remedy: String) -> StartRefusal {
    StartRefusal(
      check: "nats.bucket.\(name)", why: "KV bucket \(name) (stream KV_\(name)): \(why)",
      remedy: remedy)
  }
}

extension StartRefusal {
  /// For a request that the server will refuse again; nil if it may accept it later.
  package init?(_ error: JetStreamError) {
    guard error.isFinal else { return nil }
    let tokens = error.operation.split(separator: ".").map(String.init)
    if error.isUnsupported {
      let name = tokens.dropFirst(2).joined(separator: ".")
      self = .stream(
        name, error.message, remedy: "# With all that it holds:\nnats stream rm \(name)")
      return
    }
    let says = "\(error.message) [JetStream \(error.code)]"
    switch (tokens.first, tokens.count) {
    case ("CONSUMER", 4...):
      let name = tokens[tokens.count - 1]
      let stream = tokens[tokens.count - 2]
      self = .consumer(
        name, of: stream, "the server refuses it: \(says)",
        remedy: "# Correct it under streams, consumers in the configuration.")
    case ("STREAM", 3) where tokens[2].hasPrefix("KV_"):
      self = .bucket(
        String(tokens[2].dropFirst(3)), "the server refuses it: \(says)",
        remedy: Self.remedy(tokens[2], error.code))
    case ("STREAM", 3...):
      let name = tokens[2...].joined(separator: ".")
      self = .stream(
        name, "the server refuses it: \(says)", remedy: Self.remedy(name, error.code))
    default:
      self = StartRefusal(
        check: "nats.jetstream", why: "\(error)", remedy: "# Correct the configuration.")
    }
  }

  private static func remedy(_ stream: String, _ code: Int) -> String {
    switch code {
    case JetStreamCode.subjectOverlap: SubjectOverlap.remedy
    case 10074: "streams:\n  - { name: \(stream), num_replicas: 1 }"
    default: "# Correct its settings under streams, in the configuration."
    }
  }
}

/// Subjects that another stream takes already.
package struct SubjectOverlap: Sendable, Equatable {
  package var subject: String
  package var streams: [String]

  /// By the server's own judgement.
  ///
  /// - Throws: if the user may not ask (`$JS.API.STREAM.NAMES`).
  package static func find(
    _ subjects: [String], besides stream: String, _ jetStream: JetStreamClient
  ) async throws(JetStreamError) -> [SubjectOverlap] {
    var once = jetStream
    once.attempts = 1
    var found: [SubjectOverlap] = []
    for subject in subjects {
      let others = try await once.streams(overlapping: subject).filter { $0 != stream }
      if !others.isEmpty { found.append(SubjectOverlap(subject: subject, streams: others)) }
    }
    return found
  }

  /// The server's refusal with the streams that it doesn't name, if the user may ask for them.
  static func naming(
    _ error: JetStreamError, _ subjects: [String], of stream: String, _ jetStream: JetStreamClient
  ) async -> JetStreamError {
    guard error.code == JetStreamCode.subjectOverlap else { return error }
    let overlaps = try? await find(subjects, besides: stream, jetStream)
    return refusal(overlaps ?? [], error.operation)
  }

  /// As the server says it.
  package static func refusal(_ overlaps: [SubjectOverlap], _ operation: String) -> JetStreamError {
    let list = overlaps.map { overlap in
      "\(overlap.subject) with stream \(overlap.streams.prefix(5).joined(separator: ", "))"
    }
    var error = JetStreamError(
      code: JetStreamCode.subjectOverlap, operation: operation,
      serverSays: "subjects overlap with an existing stream")
    error.status = 400
    if !list.isEmpty { error.message += ": \(list.joined(separator: "; "))" }
    return error
  }

  package static let remedy = """
    # A subject belongs to one stream. Either give the streams in the configuration (dead_letter.subject, \
    bridge.state_bucket) other subjects, or take them from the other stream:
    nats stream ls --subject '<subject>'
    nats stream edit <stream> --subjects '<its other subjects>'
    """
}
