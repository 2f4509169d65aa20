import JSON
import JetStream
import Logging

extension EpochRunner {
  /// Warns at the start where it can't be known what was stored.
  func warnOfUncountable(_ streams: [PreparedStream]) {
    for stream in streams where !stream.exclusive && !stream.isDeadLetter {
      let retention = stream.info.config["retention"]?.stringValue ?? "limits"
      let age = stream.info.maxAgeSeconds ?? .max
      guard retention != "limits" || age < 60 else { continue }
      let why = retention != "limits" ? "retention: \(retention)" : "max_age: \(age)s"
      let what = """
        stream \(stream.name) is shared and loses messages soon (\(why)): after a crash it can't be \
        told which of the last second's are stored, and those that are gone by then are published \
        again, unless the duplicate window still knows them. With ownership: exclusive they are counted
        """
      board.note(error: what)
      logger.warning("\(what)")
    }
  }
}
