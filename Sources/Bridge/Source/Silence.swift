import MongoSource

/// Why no changes come, for the error of a wait that ends: a sentence for each state of a reader.
extension SourceStatus {
  var silence: String {
    let server = host ?? "no server"
    let answered = lastReplyAt.map { " (last answer \(Self.seconds(since: $0)) s ago)" } ?? ""
    let place = lastRead.map { ", up to \($0.position)" } ?? ""
    let error = lastError.map { "; the last error was: \($0)" } ?? ""
    switch phase {
    case .idle, .opening:
      return
        (host == nil ? "no connection was made yet" : "\(server) was asked and has not answered")
        + error
    case .waiting(let position):
      return "\(server) is not as far as \(position) yet\(answered)\(error)"
    case .reading: return "\(server) has more\(place), and does not send it\(answered)\(error)"
    case .caughtUp:
      return "\(server) says that it has nothing more\(place)\(answered)\(error)"
    case .reopening(let reason, let attempt): return "\(reason), \(attempt) attempts"
    case .failed: return "reading has failed\(error)"
    case .stopped: return "reading was stopped"
    }
  }

  fileprivate static func seconds(since moment: ContinuousClock.Instant) -> Int64 {
    (ContinuousClock.now - moment).components.seconds
  }
}

extension ImageStatus {
  var silence: String {
    let server = host ?? "no server"
    let answered =
      lastAnswerAt.map { " (last answer \(SourceStatus.seconds(since: $0)) s ago)" } ?? ""
    let error = lastError.map { "; the last error was: \($0)" } ?? ""
    let what = "documents that rules want (payload.full_document) are being fetched"
    switch phase {
    case .retrying(let reason, let attempt): return "\(what): \(reason), \(attempt) attempts"
    case .idle, .reading: return "\(what) from \(server)\(answered)\(error)"
    case .stopped: return "\(what), and their reader was stopped\(error)"
    }
  }
}
