import BridgeConfiguration
package import JSON

/// Whether a stream, as configured on the server, can hold what a bridge publishes: everything, under its own
/// subjects, and nothing that resembles it. Pure.
package struct StreamFitness: Sendable {
  /// The stream's configuration as the server has it.
  package let config: JSONValue
  /// Subjects that this bridge publishes to the stream by.
  package let subjects: [String]
  package let isExclusive: Bool
  /// The bridge's configuration asks for memory storage.
  let allowsMemory: Bool
  /// Subjects of this bridge's exclusive streams.
  let exclusiveSubjects: [String]

  package init(
    _ config: JSONValue, subjects: [String], isExclusive: Bool, allowsMemory: Bool = false,
    exclusiveSubjects: [String] = []
  ) {
    self.config = config
    self.subjects = subjects
    self.isExclusive = isExclusive
    self.allowsMemory = allowsMemory
    self.exclusiveSubjects = exclusiveSubjects
  }

  /// Why the bridge can't publish there; nil if it can.
  package var refusal: String? {
    if config["mirror"] != nil { return "it is a mirror: nothing can be published to it" }
    if isOn("sealed") { return "it is sealed: nothing can be published to it" }
    if isOn("no_ack") {
      return "no_ack is set: nothing would be acknowledged; set it to false"
    }
    if config["persist_mode"]?.stringValue == "async" {
      return "persist_mode is async: an acknowledged event could be lost; set it to default"
    }
    if config["storage"]?.stringValue == "memory", !allowsMemory {
      return
        "storage is memory: events would not survive a restart; set storage: memory in the configuration if that is intended"
    }
    if isOn("allow_msg_counter") {
      return
        "allow_msg_counter is set: it takes increments of counters and refuses events; use a stream without counters"
    }
    if let transform = transformOfOurs {
      return
        "subject_transform turns \(transform.from) into \(transform.to): messages would be stored under other subjects than the rules give them; remove it, and transform where the stream is sourced or mirrored"
    }
    if isExclusive, hasSources {
      return
        "sources bring messages of other streams into it, but ownership is exclusive; remove them, or set ownership: shared"
    }
    if let subject = republishedInto {
      return
        "republish sends its messages to \(subject), which belongs to an exclusive stream of this bridge; choose another destination"
    }
    return nil
  }

  /// The remedy for the refusal, ready to paste.
  package func remedy(_ name: String) -> String {
    func set(_ settings: String) -> String {
      "# In the configuration:\nstreams:\n  - { name: \(name), \(settings) }"
    }
    let remedy = """
      # That can't be undone. Name another stream in the configuration, or delete this one with all that it \
      holds:
      nats stream rm \(name)
      """
    if config["mirror"] != nil || isOn("sealed") { return remedy }
    if isOn("no_ack") { return set("no_ack: false") }
    if config["persist_mode"]?.stringValue == "async" { return remedy }
    if config["storage"]?.stringValue == "memory", !allowsMemory { return set("storage: memory") }
    if isOn("allow_msg_counter") { return remedy }
    let edit = "nats stream edit \(name) --interactive"
    if transformOfOurs != nil { return "# Remove subject_transform:\n\(edit)" }
    if isExclusive, hasSources {
      return "\(set("ownership: shared"))\n# or remove the sources:\n\(edit)"
    }
    return "# Choose another destination for republish:\n\(edit)"
  }

  /// What an operator should know, although the bridge can publish and verify.
  package var warnings: [String] {
    var warnings: [String] = []
    if !isExclusive, hasSources {
      warnings.append(
        "sources bring messages of other streams into it: they count as other producers', even those of this bridge"
      )
    }
    if transform != nil, transformOfOurs == nil {
      warnings.append("subject_transform is set, for subjects that this bridge does not use")
    }
    return warnings
  }

  /// Notes of verification: differences that come from the stream's own settings.
  package var notesForVerification: [String] {
    var notes = warnings
    if let transform = transformOfOurs {
      notes.append(
        "subject_transform turns \(transform.from) into \(transform.to): messages are stored under other subjects than the rules give them"
      )
    }
    if isExclusive, hasSources {
      notes.append("sources bring messages of other streams into it")
    }
    if isOn("allow_msg_counter") { notes.append("allow_msg_counter is set: it refuses events") }
    return notes
  }

  private func isOn(_ key: String) -> Bool { config[key]?.boolValue == true }

  private var hasSources: Bool { config["sources"]?.arrayValue.map { !$0.isEmpty } ?? false }

  private var transform: (from: String, to: String)? {
    guard let transform = config["subject_transform"], case .object = transform else { return nil }
    let from = transform["src"]?.stringValue ?? ""
    return (from.isEmpty ? ">" : from, transform["dest"]?.stringValue ?? "")
  }

  private var transformOfOurs: (from: String, to: String)? {
    transform.flatMap { transform in
      subjects.contains { subjectsOverlap($0, transform.from) } ? transform : nil
    }
  }

  private var republishedInto: String? {
    guard let republish = config["republish"], let text = republish["dest"]?.stringValue else {
      return nil
    }
    let source = republish["src"]?.stringValue ?? ""
    guard source.isEmpty || subjects.contains(where: { subjectsOverlap($0, source) }) else {
      return nil
    }
    // `$1`, `{{wildcard(1)}}` and the like are replaced by what was matched.
    let destination = text.split(separator: ".").map { token in
      token.contains("$") || token.contains("{") ? "*" : String(token)
    }.joined(separator: ".")
    return exclusiveSubjects.contains { subjectsOverlap($0, destination) } ? text : nil
  }
}

/// The subjects of a stream that several publish to.
package enum SharedSubjects {
  /// The stream's and the wanted subjects, without those that another one covers: a stream's subjects
  /// must not overlap.
  package static func union(_ present: [String], _ wanted: [String]) -> [String] {
    var all = present
    for subject in wanted where !all.contains(where: { subjectIsCovered(subject, by: $0) }) {
      all.removeAll { subjectIsCovered($0, by: subject) }
      all.append(subject)
    }
    return all
  }
}
