import JSON
import Mapping

extension StreamSpec {
  static func readAll(_ root: Section, isRequired: Bool) -> [StreamSpec] {
    guard let node = root.node("streams") else {
      if isRequired {
        root.missing("streams", "add one: streams: [{ name: CHANGES, subjects: [\"changes.>\"] }]")
      }
      return []
    }
    guard case .sequence(let items, _) = node else {
      root.problems.add(
        node.position, "streams is \(node.kind), not a list", "write - name: … items")
      return []
    }
    if items.isEmpty, isRequired {
      root.problems.add(
        node.position, "streams is empty", "add one: - { name: CHANGES, subjects: [\"changes.>\"] }"
      )
    }
    var streams: [StreamSpec] = []
    for (index, item) in items.enumerated() {
      let section = Section(
        item, name: "streams[\(index)]", at: item.position, problems: root.problems)
      guard let stream = read(section) else { continue }
      if streams.contains(where: { $0.name == stream.name }) {
        root.problems.add(
          section.node("name")?.position ?? section.position,
          "there is another stream named \(stream.name)", "give each stream a name of its own")
      } else {
        reportOverlap(section, with: streams)
      }
      streams.append(stream)
    }
    return streams
  }

  /// JetStream takes a subject into one stream only.
  private static func reportOverlap(_ section: Section, with others: [StreamSpec]) {
    for scalar in section.scalars("subjects") ?? [] {
      for other in others {
        guard let taken = other.subjects.first(where: { subjectsOverlap($0, scalar.text) }) else {
          continue
        }
        section.problems.add(
          scalar.position, "\(scalar.text) overlaps \(taken) of stream \(other.name)",
          "let each subject belong to one stream")
      }
    }
  }

  private static func read(_ section: Section) -> StreamSpec? {
    let name = section.scalar("name")
    if let name {
      checkStreamName(name, section: section, key: "name")
    } else {
      section.missing("name", "add name: CHANGES")
    }
    let subjects = section.scalars("subjects")
    if subjects == nil || subjects?.isEmpty == true {
      section.missing("subjects", "add subjects: [\"changes.>\"]")
    }
    for subject in subjects ?? [] { checkSubject(subject, problems: section.problems) }
    warnOfOverlap(subjects ?? [], section)
    let ownership: StreamOwnership = section.choice("ownership", default: .exclusive)
    let publish: PublishProtocol = section.choice("publish", default: .auto)
    let onLoss: OnLoss = section.choice("on_loss", default: .refill)
    _ = section.node("consumers")
    let settings = passThrough(section, StreamFields.ofStreams)
    StreamConstraints(section: section, settings: settings).checkStream(ownership)
    let consumers = readConsumers(
      section, (subjects ?? []).map(\.text),
      replicas: settings["num_replicas"]?.integer(Int64.self) ?? 1)
    guard let name else { return nil }
    return StreamSpec(
      name: name.text, subjects: (subjects ?? []).map(\.text), ownership: ownership,
      publish: publish, onLoss: onLoss, settings: settings, consumers: consumers)
  }

  /// The server refuses a stream with overlapping subjects, or keeps only the wider one.
  private static func warnOfOverlap(_ subjects: [ConfigScalar], _ section: Section) {
    for (index, subject) in subjects.enumerated() {
      guard
        let other = subjects[..<index].first(where: { subjectsOverlap($0.text, subject.text) })
      else { continue }
      section.problems.warn(
        .streamOverlap, subject.position,
        "\(subject.text) overlaps \(other.text) in the same stream, which servers refuse",
        "keep the wider one of them")
    }
  }

  private static func readConsumers(
    _ section: Section, _ subjects: [String], replicas: Int64
  ) -> [JSONValue] {
    guard let node = section.node("consumers") else { return [] }
    guard case .sequence(let items, _) = node else {
      section.problems.add(
        node.position, "\(section.path("consumers")) is \(node.kind), not a list",
        "write - { durable_name: … } items")
      return []
    }
    var names: [String] = []
    return items.enumerated().map { index, item in
      let consumer = Section(
        item, name: "\(section.path("consumers"))[\(index)]", at: item.position,
        problems: section.problems)
      // Looked up without marking them as known: they pass through with the rest.
      let entries = consumer.rest
      let name = entries.first {
        ($0.key.text == "durable_name" || $0.key.text == "name") && !$0.value.isNull
      }?.value.scalar
      if let name {
        if names.contains(name.text) {
          section.problems.add(
            name.position, "there is another consumer named \(name.text)",
            "give each consumer of a stream a name of its own")
        }
        names.append(name.text)
      } else {
        consumer.missing("durable_name", "add durable_name: notifications")
      }
      for entry in entries where ["filter_subject", "filter_subjects"].contains(entry.key.text) {
        var filters = [entry.value]
        if case .sequence(let items, _) = entry.value { filters = items }
        for filter in filters.compactMap(\.scalar)
        where !subjects.isEmpty && !subjects.contains(where: { subjectsOverlap($0, filter.text) }) {
          section.problems.warn(
            .consumerFilter, filter.position,
            "the stream takes \(list(subjects)), of which \(filter.text) is no part",
            "correct the filter: this consumer gets nothing")
        }
      }
      let settings = passThrough(consumer, StreamFields.ofConsumers)
      StreamConstraints(section: consumer, settings: settings).checkConsumer(replicas: replicas)
      return settings
    }
  }

  private static func passThrough(
    _ section: Section, _ fields: [String: StreamFieldKind]
  ) -> JSONValue {
    let candidates = section.knownKeys + fields.keys.sorted()
    return .object(
      section.rest.compactMap { key, value in
        guard let kind = fields[key.text] else {
          if let near = StreamFields.meant(by: key.text, among: candidates) {
            section.problems.add(
              key.position, "unknown key \(key.text) in \(section.name)", "did you mean \(near)?")
            return nil
          }
          return value.isNull ? nil : JSONValue.Member(key.text, JSONConversion.convert(value))
        }
        return kind.read(value, section.path(key.text), section.problems)
          .map { JSONValue.Member(key.text, $0) }
      })
  }

  static func checkStreamName(_ scalar: ConfigScalar, section: Section, key: String) {
    section.checkName(scalar, key: key, dots: false)
  }

  static func checkSubject(_ scalar: ConfigScalar, problems: ProblemList) {
    let tokens = scalar.text.split(separator: ".", omittingEmptySubsequences: false)
    let trouble: String?
    if scalar.text.contains(where: { $0.isWhitespace || $0.asciiValue.map { $0 < 0x20 } ?? false })
    {
      trouble = "holds white space"
    } else if tokens.contains("") {
      trouble = "has an empty token"
    } else if tokens.dropLast().contains(">") {
      trouble = "has > before its end"
    } else if tokens.contains(where: { $0.count > 1 && ($0.contains("*") || $0.contains(">")) }) {
      trouble = "has a wildcard inside a token"
    } else if scalar.text.hasPrefix("$") {
      trouble = "starts with $, which belongs to the server"
    } else {
      trouble = nil
    }
    guard let trouble else { return }
    problems.add(
      scalar.position, "the subject \"\(scalar.text)\" \(trouble)",
      "write tokens between dots; * matches one whole token, > at the end all the rest")
  }
}
