internal import CMongoC

/// The MongoDB part of `doctor`: checks the deployment for what would break the bridge. Read-only.
public enum MongoDoctor {
  /// Never throws: what can't be reached or seen is reported as a diagnosis. Returns at most a few
  /// seconds after the demands' time limit.
  public static func examine(
    _ options: MongoSourceOptions, _ demands: MongoDemands = MongoDemands()
  ) async -> [Diagnosis] {
    await withCheckedContinuation { (continuation: CheckedContinuation<[Diagnosis], Never>) in
      let started = OSThread.start("mongo-doctor") {
        continuation.resume(returning: examineBlocking(options, demands))
      }
      if !started {
        continuation.resume(returning: [
          Diagnosis("mongodb.reachable", .fail, "the system refuses to start a thread")
        ])
      }
    }
  }

  private static func examineBlocking(
    _ options: MongoSourceOptions, _ demands: MongoDemands
  ) -> [Diagnosis] {
    var options = options
    options.awaitTime = .zero
    let found: [Diagnosis]
    do {
      let examiner = try DoctorExaminer(options, demands)
      found = examiner.facts().diagnose(demands)
    } catch {
      let probed =
        error.domain == .selection ? DoctorExaminer.probeServers(options, demands) : []
      found = NoContact(error, found: probed).diagnose(demands)
    }
    return clean(found, options)
  }

  /// Redacts the evidence: server errors repeat what was sent. Remedies hold only our own text.
  private static func clean(
    _ found: [Diagnosis], _ options: MongoSourceOptions
  ) -> [Diagnosis] {
    let redaction = (try? MongoURI(options, replyTimeout: .zero))?.redaction ?? Redaction()
    return found.map { diagnosis in
      var diagnosis = diagnosis
      diagnosis.evidence = redaction.clean(diagnosis.evidence)
      return diagnosis
    }
  }
}

extension MongoURI {
  var usesTLS: Bool { mongoc_uri_get_tls(pointer) }

  var user: (name: String, source: String)? {
    guard let name = mongoc_uri_get_username(pointer) else { return nil }
    let source = mongoc_uri_get_auth_source(pointer).map { String(cString: $0) } ?? "admin"
    return (String(cString: name), source)
  }
}
