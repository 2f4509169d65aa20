internal import CMongoC
internal import Logging

/// libmongoc's process-wide state.
enum MongoLibrary {
  private static let logger = Logger(label: "tailrace.libmongoc")

  /// Runs once, before the first use. Never cleaned up: libmongoc can't be initialized again.
  private static let started: Void = tailrace_mongo_start { level, message in
    let text = Redaction.withoutUserInfo(String(cString: message))
    switch level {
    // Fails whenever a server is gone.
    case _ where text.contains("endSessions"):
      logger.debug("\(text)")
    case MONGOC_LOG_LEVEL_ERROR, MONGOC_LOG_LEVEL_CRITICAL, MONGOC_LOG_LEVEL_WARNING:
      logger.warning("\(text)")
    default:
      logger.debug("\(text)")
    }
  }

  static func start() { _ = started }

  /// Of the library that is loaded, which may be newer than its headers.
  static var version: String { String(cString: mongoc_get_version()) }
}
