import BSON
import JSONSchema
import Mapping
import Oplog

/// Reads `rules`, with the streams they may publish to.
struct RuleReading {
  let streams: [StreamSpec]
  /// There is something else than streams to deliver to.
  let hasOtherRoutes: Bool
  /// A key to hash with is configured.
  let hasRedactionKey: Bool
  let problems: ProblemList

  func readAll(_ root: Section) -> [(rule: Rule, schema: RuleSchema?)] {
    guard let node = root.node("rules") else {
      root.missing("rules", "add one: rules: [{ name: …, match: { namespace: … }, subject: … }]")
      return []
    }
    guard case .sequence(let items, _) = node else {
      problems.add(node.position, "rules is \(node.kind), not a list", "write - name: … items")
      return []
    }
    if items.isEmpty { problems.add(node.position, "rules is empty", "add a rule") }
    var names: Set<String> = []
    let found = items.enumerated().compactMap { index, item -> ReadRule? in
      let section = Section(item, name: "rules[\(index)]", at: item.position, problems: problems)
      if let name = section.scalar("name"), !names.insert(name.text).inserted {
        problems.add(
          name.position, "there is another rule named \(name.text)",
          "give each rule a name of its own")
      }
      return read(section)
    }
    RuleWarnings(streams: streams, problems: problems).check(found)
    // The events are the same for all rules.
    let disambiguates = found.contains { $0.rule.disambiguatesPaths }
    return found.map { read in
      var rule = read.rule
      if disambiguates, !rule.disambiguatesPaths {
        rule.filter = rule.filter.excludingDisambiguatedPaths()
      }
      return (rule, read.schema)
    }
  }

  private func read(_ section: Section) -> ReadRule? {
    let name = readName(section)
    let group = section.scalar("group")
    if let group { section.checkName(group, key: "group") }
    let isOutbox = section.node("outbox") != nil
    let (delivery, target) = DeliveryReading(
      streams: streams, hasOtherRoutes: hasOtherRoutes, problems: problems
    ).read(section)
    let match = readMatch(section, isOutbox: isOutbox)
    let subject: Template?
    let id: MessageID?
    if isOutbox {
      // They come from the documents; templates aren't used.
      for key in ["subject", "id", "event_type"] where section.node(key) != nil {
        problems.add(
          section.position(of: key), "an outbox's documents have their own \(key)",
          "take it out, or name the field under outbox")
      }
      subject = try? Template(subject: "{documentKey._id}")
      id = .positional
    } else if delivery == .kv {
      subject = target.key
      id = readID(section)
    } else {
      subject = template(section, "subject") { text throws(RuleSyntaxError) in
        try Template(subject: text)
      }
      if section.node("subject") == nil {
        section.missing("subject", "add one, such as subject: \"chat.{documentKey._id}.created\"")
      }
      id = readID(section)
    }
    let payload = readPayload(section.section("payload"))
    let eventType = readEventType(section)
    let onInvalid = readOnInvalid(section, delivery)
    let onIDConflict: OnInvalid = section.choice("on_id_conflict", default: .deadLetter)
    let skipsEmptyUpdates = section.bool("skip_empty_updates", default: true)
    let continues = section.bool("continue", default: false)
    let takesSnapshots = section.bool("snapshot", default: true)
    let streamIndex = target.route?.streamIndex
    let outbox =
      isOutbox
      ? PayloadReading(hasRedactionKey: hasRedactionKey, problems: problems)
        .outbox(section.section("outbox"), streamIndex.map { streams[$0].subjects } ?? []) : nil
    if isOutbox, let payload, payload.envelope == .debezium || payload.envelope == .changeEvent {
      problems.add(
        section.section("payload").position(of: "envelope"),
        "an outbox's payload has no envelope \(payload.envelope.rawValue)",
        "use cloudevents, cloudevents_structured or document")
    }
    let schema = readSchema(section, payload?.json)
    if isOutbox, delivery != .jetstream {
      problems.add(
        section.position(of: "delivery"), "an outbox's documents go to a stream",
        "leave delivery out, or outbox")
    }
    section.finish()

    guard let match else { return nil }
    if delivery == .kv, let key = target.key, let scalar = section.section("kv").scalar("key") {
      checkKey(
        key, in: scalar, operations: match.operations,
        updatesHaveDocuments: payload.map { $0.fullDocument != .off } ?? true)
    }
    if let subject, !isOutbox, delivery != .kv, let scalar = section.scalar("subject") {
      checkPossible(
        subject, in: scalar, operations: match.operations,
        updatesHaveDocuments: payload.map { $0.fullDocument != .off } ?? true)
      if let streamIndex {
        checkCoverage(subject, in: scalar, match: match, stream: streams[streamIndex])
      } else if delivery == .core {
        checkNotStored(subject, in: scalar, match: match)
      }
    }
    if case .template(let template) = id, let scalar = section.scalar("id") {
      checkPossible(
        template, in: scalar, operations: match.operations,
        updatesHaveDocuments: payload.map { $0.fullDocument != .off } ?? true)
    }
    guard let name, let subject, let id, let payload, let route = target.route else { return nil }
    var rule = Rule(
      name: name, group: group?.text, namespace: match.namespace, operations: match.operations,
      condition: match.condition, continues: continues, subject: subject, id: id,
      envelope: payload.envelope,
      json: payload.json, filter: payload.filter, changes: payload.changes, outbox: outbox,
      fullDocument: payload.fullDocument,
      fullDocumentBeforeChange: payload.fullDocumentBeforeChange, eventType: eventType,
      dataSchema: schema?.identifier, onInvalid: onInvalid, onIDConflict: onIDConflict,
      skipsEmptyUpdates: skipsEmptyUpdates, takesSnapshots: takesSnapshots && route != .core)
    rule.route = route
    rule.keyTTL = target.keyTTL
    rule.maximumAge = target.maximumAge
    rule.disambiguatesPaths = payload.disambiguatesPaths
    return ReadRule(rule: rule, schema: schema, section: section)
  }

  private func readName(_ section: Section) -> String? {
    guard let scalar = section.scalar("name") else {
      section.missing("name", "add name: message-created")
      return nil
    }
    guard section.checkName(scalar, key: "name") else { return nil }
    if scalar.text == DeadLetterSubject.unmatchedRule {
      problems.add(
        scalar.position, "no rule can be named \(scalar.text)",
        "choose another name: this one marks dead letters that no rule took")
      return nil
    }
    return scalar.text
  }

  // MARK: Match

  private struct Match {
    var namespace: NamespacePattern
    var operations: OperationSet
    var condition: Condition?
  }

  private func readMatch(_ section: Section, isOutbox: Bool) -> Match? {
    let match = section.section("match")
    guard section.node("match") != nil else {
      section.missing("match", "add match: { namespace: database.collection }")
      return nil
    }
    var operations = readOperations(match)
    if isOutbox {
      if match.node("operations") != nil, operations != OperationSet(.insert) {
        problems.add(
          match.position(of: "operations"), "an outbox's events are its inserts",
          "leave operations out; documents may be deleted later")
      }
      operations = OperationSet(.insert)
    }
    let condition = match.node("where").flatMap { WhereReading(problems: problems).read($0) }
    var namespace: NamespacePattern? = nil
    if let scalar = match.scalar("namespace", "write database.collection") {
      do throws(RuleSyntaxError) {
        namespace = try NamespacePattern(parsing: scalar.text)
      } catch {
        problems.add(error, in: scalar)
      }
    } else if match.node("namespace") == nil {
      match.missing("namespace", "add namespace: database.collection, with * as a wildcard")
    }
    match.finish()
    return namespace.map {
      Match(namespace: $0, operations: operations, condition: condition)
    }
  }

  private func readOperations(_ match: Section) -> OperationSet {
    guard let scalars = match.scalars("operations") else { return .documents }
    if scalars.isEmpty {
      problems.add(
        match.position(of: "operations"), "\(match.path("operations")) is empty",
        "leave it out for insert, update, replace and delete")
    }
    var operations: OperationSet = []
    for scalar in scalars {
      if let operation = OperationType(configurationName: scalar.text) {
        operations.insert(OperationSet(operation))
      } else {
        match.report(
          scalar, key: "operations", words: OperationType.allCases.map(\.configurationName),
          unavailable: [])
      }
    }
    return operations.isEmpty ? .documents : operations
  }

  // MARK: Subject and id

  private func template(
    _ section: Section, _ key: String, _ parse: (String) throws(RuleSyntaxError) -> Template
  ) -> Template? {
    guard let scalar = section.scalar(key) else { return nil }
    do throws(RuleSyntaxError) {
      return try parse(scalar.text)
    } catch {
      problems.add(error, in: scalar)
      return nil
    }
  }

  private func readID(_ section: Section) -> MessageID? {
    guard let scalar = section.scalar("id") else {
      return section.node("id") == nil ? .positional : nil
    }
    if scalar.text == "positional" { return .positional }
    return template(section, "id") { text throws(RuleSyntaxError) in try Template(id: text) }
      .map { .template($0) }
  }

  /// A path that none of the rule's operations can fill makes every event invalid.
  private func checkPossible(
    _ template: Template, in scalar: ConfigScalar, operations: OperationSet,
    updatesHaveDocuments: Bool
  ) {
    guard
      let path = template.impossiblePath(
        for: operations, updatesHaveDocuments: updatesHaveDocuments)
    else { return }
    let names = operations.operations.map(\.configurationName)
    let text = path.remainder.isEmpty ? path.field.name : "\(path.field.name).\(path.remainder)"
    let offset = scalar.text.offset(of: text) ?? 0
    problems.add(
      scalar.position(at: offset), "\(text) has no value in any \(list(names)) event",
      "use documentKey" + (operations.contains(.update) ? ", or updateDescription for updates" : "")
    )
  }

  /// A signal that can't be made is late by the time anybody looks: there are no dead letters of them.
  private func readOnInvalid(_ section: Section, _ delivery: DeliveryReading.Delivery) -> OnInvalid
  {
    guard delivery == .core else { return section.choice("on_invalid", default: .deadLetter) }
    let choice: OnInvalid = section.choice("on_invalid", default: .drop)
    if choice == .deadLetter {
      problems.add(
        section.position(of: "on_invalid"),
        "\(section.path("on_invalid")): signals have no dead letters", "use drop or halt")
    }
    return choice
  }

  /// A delete has to find the key that the others put.
  private func checkKey(
    _ key: Template, in scalar: ConfigScalar, operations: OperationSet, updatesHaveDocuments: Bool
  ) {
    for operation in operations.operations {
      guard OperationSet.documents.contains(operation) else {
        problems.add(
          scalar.position, "a \(operation.configurationName) has no entry in a bucket",
          "let match.operations name insert, update, replace and delete only")
        return
      }
      guard
        let path = key.impossiblePath(
          for: OperationSet(operation), updatesHaveDocuments: updatesHaveDocuments)
      else { continue }
      let text = path.remainder.isEmpty ? path.field.name : "\(path.field.name).\(path.remainder)"
      problems.add(
        scalar.position(at: scalar.text.offset(of: text) ?? 0),
        "\(text) has no value in a \(operation.configurationName) event",
        "make the key of documentKey, which every event has")
      return
    }
  }

  /// No stream may take signals.
  private func checkNotStored(_ subject: Template, in scalar: ConfigScalar, match: Match) {
    let shapes = SubjectShape.shapes(
      of: subject, operations: match.operations, namespace: match.namespace)
    for shape in shapes {
      for stream in streams {
        guard let taken = stream.subjects.first(where: { subjectsOverlap($0, shape.pattern) })
        else { continue }
        problems.add(
          scalar.position,
          "stream \(stream.name) takes \(taken) and would store the signals at \(shape.pattern)",
          "give signals subjects of their own")
        return
      }
    }
  }

  private func checkCoverage(
    _ subject: Template, in scalar: ConfigScalar, match: Match, stream: StreamSpec
  ) {
    let shapes = SubjectShape.shapes(
      of: subject, operations: match.operations, namespace: match.namespace)
    guard !stream.subjects.isEmpty,
      let open = shapes.first(where: { shape in
        !stream.subjects.contains { shape.isCovered(by: $0) }
      })
    else { return }
    problems.add(
      scalar.position,
      "stream \(stream.name) takes \(list(stream.subjects)), which does not cover \(open.pattern)",
      "add \(open.pattern) to the stream's subjects, or change the subject")
  }

  // MARK: Payload

  private struct Payload {
    var envelope: Envelope
    var json: JSONStyle
    var filter: PayloadFilter
    var changes: PayloadChanges
    var fullDocument: DocumentLookup
    var fullDocumentBeforeChange: DocumentLookup
    var disambiguatesPaths: Bool
  }

  private enum JSONWord: String, CaseIterable {
    case simplified, relaxed, canonical

    var style: JSONStyle {
      switch self {
      case .simplified: .simplified
      case .relaxed: .relaxed
      case .canonical: .canonical
      }
    }
  }

  private func readPayload(_ section: Section) -> Payload? {
    let envelope: Envelope = section.choice(
      "envelope", default: .cloudEvents)
    let json: JSONWord = section.choice("json", default: .simplified)
    let include = paths(section, "include") { text throws(RuleSyntaxError) in
      try PayloadFilter.Path(include: text)
    }
    let exclude = paths(section, "exclude") { text throws(RuleSyntaxError) in
      try PayloadFilter.Path(exclude: text)
    }
    let changes = PayloadReading(hasRedactionKey: hasRedactionKey, problems: problems)
      .changes(section, envelope)
    // Off unless asked for: only then is a message a pure function of the oplog.
    let fullDocument: DocumentLookup = section.choice("full_document", default: .off)
    let beforeChange: DocumentLookup = section.choice(
      "full_document_before_change", default: .off)
    let disambiguatesPaths = section.bool("disambiguated_paths", default: false)
    section.finish()
    var left = exclude + changes.dropped
    if envelope == .document {
      // A constant replaces a field of the same name.
      for constant in changes.constants {
        if let path = try? PayloadFilter.Path(exclude: "fullDocument.\(constant.name)") {
          left.append(path)
        }
      }
    }
    for rename in changes.renames where envelope == .document {
      // A renamed field is next to the constants there.
      guard rename.path.isTopLevel, changes.constants.contains(where: { $0.name == rename.name })
      else { continue }
      problems.add(
        section.position(of: "rename"),
        "\(rename.path.text) is to be named \(rename.name), as a constant of set is",
        "give one of them another name")
    }
    let filter = PayloadFilter(include: include, exclude: left)
    if envelope == .document, filter.leavesNoDocument {
      problems.add(
        section.position, "the envelope is document, and include and exclude leave nothing of it",
        "include a path that starts with fullDocument")
    }
    return Payload(
      envelope: envelope, json: json.style, filter: filter, changes: changes,
      fullDocument: fullDocument,
      fullDocumentBeforeChange: beforeChange, disambiguatesPaths: disambiguatesPaths)
  }

  private func paths(
    _ section: Section, _ key: String,
    _ parse: (String) throws(RuleSyntaxError) -> PayloadFilter.Path
  ) -> [PayloadFilter.Path] {
    (section.scalars(key) ?? []).compactMap { scalar in
      do throws(RuleSyntaxError) {
        return try parse(scalar.text)
      } catch {
        problems.add(error, in: scalar)
        return nil
      }
    }
  }

  private func readEventType(_ section: Section) -> String? {
    guard let scalar = section.scalar("event_type") else { return nil }
    let bad = scalar.text.unicodeScalars.enumerated().first { !(0x21...0x7E).contains($1.value) }
    guard let bad else { return scalar.text }
    problems.add(
      scalar.position(at: bad.offset),
      "\(section.path("event_type")) holds white space or other "
        + "than printable ASCII", "write a name such as chat.message.created")
    return nil
  }

  // MARK: Schema

  private func readSchema(_ section: Section, _ style: JSONStyle?) -> RuleSchema? {
    let version = readVersion(section)
    guard let scalar = section.scalar("schema", "write the path of a JSON Schema"), let style else {
      return nil
    }
    do throws(SmallFile.Failure) {
      _ = try SmallFile.read(SmallFile.resolve(scalar.text, besideFile: problems.file))
    } catch {
      problems.add(
        scalar.position,
        "\(section.path("schema")): \(scalar.text), at the schema: it can't be read: \(error.reason)",
        error.remedy(
          missing: "correct the path; relative ones start from the configuration's folder"))
      return nil
    }
    do throws(SchemaError) {
      return try RuleSchema(
        path: scalar.text, version: version, besideFile: problems.file, style: style)
    } catch {
      problems.add(
        scalar.position, "\(section.path("schema")): \(error)",
        "correct the schema; tailrace schema check says more")
      return nil
    }
  }

  private func readVersion(_ section: Section) -> SchemaVersion? {
    guard let scalar = section.scalar("schema_version") else { return nil }
    guard section.scalar("schema") != nil else {
      problems.add(
        scalar.position, "\(section.path("schema_version")) is there without schema",
        "name the schema's file: schema: schemas/message.json")
      return nil
    }
    guard let version = SchemaVersion(scalar.text) else {
      problems.add(
        scalar.position, "\(section.path("schema_version")) can't be \"\(scalar.text)\"",
        "write the name of a published schema and its version: chat.message.2")
      return nil
    }
    return version
  }
}

extension String {
  /// Where another text first occurs in this one, in Unicode scalars.
  func offset(of part: String) -> Int? {
    indices.first { self[$0...].hasPrefix(part) }.map { unicodeScalars[..<$0].count }
  }
}
