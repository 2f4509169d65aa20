public import BSON

/// What happens to an event that a rule takes but can't make a message of.
public enum OnInvalid: String, Sendable, CaseIterable {
  case deadLetter = "dead_letter"
  case drop, halt
}

/// The shape of a message's body and headers.
public enum Envelope: String, Sendable, CaseIterable {
  /// CloudEvents 1.0 in binary mode: `ce-*` headers, the event's data as the body.
  case cloudEvents = "cloudevents"
  /// The change event as MongoDB's change streams show it, without their resume token.
  case changeEvent = "change_event"
  /// The bare document.
  case document
  /// CloudEvents 1.0 in structured mode: attributes and data in one JSON object.
  case cloudEventsStructured = "cloudevents_structured"
  /// As Debezium's connector for MongoDB has it, for consumers that know that.
  case debezium
}

/// Whether an event gets a document that its oplog entry does not hold.
public enum DocumentLookup: String, Sendable, CaseIterable {
  /// Not asked for.
  case off
  /// If it is available.
  case whenAvailable = "when_available"
  /// An event without it is invalid.
  case required
}

/// Where a message's id (`Nats-Msg-Id`) comes from.
public enum MessageID: Sendable, Equatable {
  /// `<source>:<seconds>.<increment>.<index>`, with `:<rule>` for matches beyond the first.
  case positional
  case template(Template)
}

/// One rule, checked and ready for a `Mapper`.
public struct Rule: Sendable, Equatable {
  public var name: String
  /// The unit of cut-over.
  public var group: String
  public var namespace: NamespacePattern
  public var operations: OperationSet
  /// A further condition on events.
  public var condition: Condition?
  /// An event that this rule takes continues to the rules after it.
  public var continues: Bool
  public var subject: Template
  public var id: MessageID
  public var envelope: Envelope
  public var json: JSONStyle
  public var filter: PayloadFilter
  public var changes: PayloadChanges
  /// Bodies of updates hold `disambiguatedPaths`. Where no rule's do, events have none; of a rule that
  /// does not want them, `filter` excludes them.
  public var disambiguatesPaths = false
  /// The rule takes documents that are events themselves.
  public var outbox: Outbox?
  /// The document after an update.
  public var fullDocument: DocumentLookup
  /// The document before an update, replacement or deletion.
  public var fullDocumentBeforeChange: DocumentLookup
  /// `ce-type`; nil for `<collection>.<operation>`.
  public var eventType: String?
  /// `ce-dataschema`; nil leaves the header out.
  public var dataSchema: String?
  public var onInvalid: OnInvalid
  /// What happens to an event whose id its stream has for another event.
  public var onIDConflict: OnInvalid
  /// A snapshot publishes the documents that it takes.
  public var takesSnapshots: Bool
  /// An update of which `include` and `exclude` leave nothing has no message.
  public var skipsEmptyUpdates: Bool
  /// Where its messages go.
  public var route: Route
  /// Of a bucket: for how long the server keeps an entry, in whole seconds; nil: as the bucket says.
  public var keyTTL: Int?
  /// Of signals (`Route.core`): older events are dropped, milliseconds.
  public var maximumAge: Int64 = 10_000

  /// Index into the configuration's streams; nil: its messages are stored nowhere.
  public var streamIndex: Int? { route.streamIndex }

  public init(
    name: String, group: String? = nil, namespace: NamespacePattern,
    operations: OperationSet = .documents, condition: Condition? = nil, continues: Bool = false,
    subject: Template,
    id: MessageID = .positional, envelope: Envelope = .cloudEvents, json: JSONStyle = .simplified,
    filter: PayloadFilter = .everything, changes: PayloadChanges = .none, outbox: Outbox? = nil,
    fullDocument: DocumentLookup = .off,
    fullDocumentBeforeChange: DocumentLookup = .off, eventType: String? = nil,
    dataSchema: String? = nil,
    onInvalid: OnInvalid = .deadLetter, onIDConflict: OnInvalid = .deadLetter,
    skipsEmptyUpdates: Bool = true, takesSnapshots: Bool = true, streamIndex: Int = 0
  ) {
    self.name = name
    self.group = group ?? name
    self.namespace = namespace
    self.operations = operations
    self.condition = condition
    self.continues = continues
    self.subject = subject
    self.id = id
    self.envelope = envelope
    self.json = json
    self.filter = filter
    self.changes = changes
    self.outbox = outbox
    self.fullDocument = fullDocument
    self.fullDocumentBeforeChange = fullDocumentBeforeChange
    self.eventType = eventType
    self.dataSchema = dataSchema
    self.onInvalid = onInvalid
    self.onIDConflict = onIDConflict
    self.takesSnapshots = takesSnapshots
    self.skipsEmptyUpdates = skipsEmptyUpdates
    route = .stream(StreamID(streamIndex))
  }
}
