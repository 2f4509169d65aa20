import ArgumentParser
import BSON
import Bridge
import BridgeConfiguration
import Foundation
import Logging
import MongoSource
import Operator
import Oplog
import Verification

/// `tailrace init --from-mongodb`: reads a bounded part of a deployment, and changes nothing there.
struct DeploymentProposal {
  let uri: String
  let databases: [String]
  /// Documents of each collection.
  let sample: Int
  /// Seconds of oplog.
  let window: Int
  let json: Bool

  /// A sample of more than a twentieth makes the server read the whole collection: not beyond this size.
  private static let mostBytes: UInt64 = 64 << 20
  /// Of all documents that are looked at.
  private static let mostMemory = 96 << 20

  func write(to files: InitialFiles) async throws {
    try files.prepare()
    do {
      try await propose(files)
    } catch let error as MongoError {
      printError(MongoError.words(of: error))
      throw ExitCode(error.isTransient ? 69 : 78)
    } catch let error as BridgeError {
      printError(error.description)
      throw ExitCode(error.exitCode)
    }
  }

  private func propose(_ files: InitialFiles) async throws {
    let uri = Self.preferringSecondaries(uri)
    let options = MongoSourceOptions(uri: uri, readConcernMajority: false)
    let setName = try await MongoAdmin.identify(options).setName
    let found = try await MongoAdmin.survey(options, databases: databases)
    var facts: [SampledCollection] = []
    var documents: [[[UInt8]]] = []
    var leftOut: [(name: String, reason: String)] = []
    let share = Self.mostMemory / max(1, found.count)
    for collection in found {
      let name = "\(collection.database).\(collection.name)"
      if let reason = SystemNamespace.reason(
        collection.database, collection.name, named: databases)
      {
        leftOut.append((name, reason))
        continue
      }
      printNote("looking at \(name)")
      let some = try await MongoAdmin.sample(
        options, database: collection.database, collection: collection.name,
        count: count(of: collection), maximumBytes: share)
      let seen = SampledCollection(database: collection.database, name: collection.name)
      seen.total = collection.documents
      for document in some {
        document.withUnsafeBytes { bytes in
          if let view = try? BSONView(bytes) { seen.observe(view) }
        }
      }
      facts.append(seen)
      documents.append(some)
    }
    guard !facts.isEmpty else {
      printError(
        databases.isEmpty
          ? "there is no collection to propose rules for: name a --database that has some, or leave out --from-mongodb"
          : "there is no collection in \(databases.joined(separator: ", "))")
      throw ExitCode(64)
    }
    var proposal = ProposedConfiguration(
      facts, origin: .deployment(uri: Self.written(self.uri), setName: setName))
    proposal.leftOut += leftOut
    let report = ProposalReport(
      files: files,
      environment: ProcessInfo.processInfo.environment.merging(["MONGODB_URI": uri]) { $1 },
      json: json)
    // What the rules make of documents and events tells what schemas must accept.
    let draft = try report.draft(proposal)
    let evidence = ProposalEvidence(draft, sourceName: setName)
    for (facts, documents) in zip(facts, documents) {
      for document in documents {
        document.withUnsafeBytes { bytes in
          guard let view = try? BSONView(bytes) else { return }
          evidence.take(document: view, database: facts.database, collection: facts.name)
        }
      }
    }
    documents = []
    let (first, last) = try await range(options)
    printNote("reading the oplog from \(first) to \(last)")
    let seconds = try await evidence.take(
      from: first, through: last, draft, logger: ProposalReport.logger(draft))
    proposal.complete(evidence, seconds: seconds)
    try files.write(proposal)
    let configuration = try report.validate(proposal)
    try await report.run(configuration, of: proposal, from: first, until: last)
  }

  /// So many documents that the server need not read much for them.
  private func count(of collection: MongoAdmin.SurveyedCollection) -> Int {
    guard let total = collection.documents, let bytes = collection.bytes, bytes > Self.mostBytes
    else { return sample }
    return min(sample, max(1, Int(clamping: total / 20) - 1))
  }

  /// The last `window` seconds of the oplog, as far as it has them.
  private func range(
    _ options: MongoSourceOptions
  ) async throws -> (OplogPosition, OplogPosition) {
    let last = try await MongoAdmin.majorityPosition(options).position
    let oldest = try await MongoAdmin.oldestPosition(options).position
    let begin = OplogPosition(
      seconds: last.seconds - UInt32(clamping: min(window, Int(last.seconds))), increment: 0)
    guard begin > oldest else { return (oldest, last) }
    let entry = try await MongoAdmin.entry(options, atOrAfter: begin)?.position
    return (min(entry ?? oldest, last), last)
  }

  /// A sample need not burden the primary.
  private static func preferringSecondaries(_ uri: String) -> String {
    guard !uri.lowercased().contains("readpreference=") else { return uri }
    let option = "readPreference=secondaryPreferred"
    if uri.contains("?") { return uri + (uri.hasSuffix("?") ? "" : "&") + option }
    let hosts = uri.range(of: "://").map { uri[$0.upperBound...] } ?? uri[...]
    return uri + (hosts.contains("/") ? "?" : "/?") + option
  }

  /// The connection string as it may be written into a file; nil if there is a secret in it.
  private static func written(_ uri: String) -> String? {
    let lower = uri.lowercased()
    let mayHide = ["@", "password", "authmechanismproperties", "{", "}"]
    return mayHide.contains(where: lower.contains) ? nil : uri
  }
}

/// `tailrace init --from-events`: change events, as `decode` and change streams print them, or oplog entries.
struct RecordedProposal {
  let file: String
  let databases: [String]
  let json: Bool

  func write(to files: InitialFiles) throws {
    try files.prepare()
    do {
      try propose(files)
    } catch let failure as RecordedEvents.Failure {
      printError(failure.description)
      throw ExitCode(64)
    } catch let failure as DocumentIntake.Unreadable {
      printError(failure.description)
      throw ExitCode(64)
    }
  }

  private func propose(_ files: InitialFiles) throws {
    var facts: [SampledCollection] = []
    var places: [String: Int] = [:]
    var leftOut: [String: String] = [:]
    var events = RecordedEvents(file)
    try events.read { event in
      let namespace = String(decoding: event.namespace, as: UTF8.self)
      let database = String(decoding: event.namespace.prefix(event.databaseLength), as: UTF8.self)
      let collection = String(namespace.dropFirst(database.count + 1))
      guard [.insert, .update, .replace, .delete].contains(event.operation), !collection.isEmpty,
        databases.isEmpty || databases.contains(database)
      else { return }
      if let reason = SystemNamespace.reason(database, collection, named: databases) {
        leftOut[namespace] = reason
        return
      }
      let place =
        places[namespace]
        ?? {
          facts.append(SampledCollection(database: database, name: collection))
          places[namespace] = facts.count - 1
          return facts.count - 1
        }()
      if let document = event.fullDocument {
        facts[place].observe(document)
      } else if let key = event.documentKey {
        facts[place].observe(key: key)
      }
      if let fields = try? event.updateDescription?.first("updatedFields")?.document {
        facts[place].observe(updatedFields: fields)
      }
    }
    guard !facts.isEmpty else {
      let others = ProposalReport.list(events.passedOver).map { "; there are \($0)" } ?? ""
      printError(
        "\(file) has no change of \(leftOut.isEmpty ? "a document" : "an application's document")"
          + (databases.isEmpty ? "" : " in \(databases.joined(separator: ", "))") + others
      )
      throw ExitCode(64)
    }
    facts.sort { ($0.database, $0.name) < ($1.database, $1.name) }
    var proposal = ProposedConfiguration(facts, origin: .events(file: file))
    proposal.leftOut += leftOut.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    proposal.passedOver = events.passedOver
    let report = ProposalReport(
      files: files, environment: ProcessInfo.processInfo.environment, json: json)
    let draft = try report.draft(proposal)
    let evidence = ProposalEvidence(draft, sourceName: Self.sourceName)
    try events.read { evidence.take($0) }
    proposal.complete(evidence, seconds: events.seconds)
    try files.write(proposal)
    let configuration = try report.validate(proposal)
    let dryRun = RecordedDryRun(configuration, sourceName: Self.sourceName)
    try events.read { dryRun.take($0) }
    try report.show(dryRun.report, configuration, proposal)
  }

  /// Ids of messages begin with it; here nobody sees them.
  private static let sourceName = "events"
}
