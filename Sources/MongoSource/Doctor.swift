internal import CMongoC

/// The MongoDB half of `doctor`: connects, looks, and judges what would hurt later. Changes nothing.
public enum MongoDoctor {
  /// Never throws: what can't be reached or seen is a diagnosis too. Ends some seconds after the
  /// demands' time limit at the latest.
  public static func examine(
    _ options: MongoSourceOptions, _ demands: MongoDemands = MongoDemands()
  ) async -> [Diagnosis] {
    await withCheckedContinuation { (continuation: CheckedContinuation<[Diagnosis], Never>) in
      let started = OSThread.start("mongo-doctor") {
        continuation.resume(returning: look(options, demands))
      }
      if !started {
        continuation.resume(returning: [
          Diagnosis("mongodb.reachable", .fail, "the system refuses to start a thread")
        ])
      }
    }
  }

  private static func look(
    _ options: MongoSourceOptions, _ demands: MongoDemands
  ) -> [Diagnosis] {
    var options = options
    options.awaitTime = .zero
    let found: [Diagnosis]
    do {
      let examiner = try DoctorExaminer(options, demands)
      found = examiner.facts().diagnose(demands)
    } catch {
      let strangers =
        error.domain == .selection ? DoctorExaminer.strangers(options, demands) : []
      found = NoContact(error, found: strangers).diagnose(demands)
    }
    return clean(found, options)
  }

  /// Servers repeat in their errors what they were sent. The remedies are ours.
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
