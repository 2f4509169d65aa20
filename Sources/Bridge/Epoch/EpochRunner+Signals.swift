import BridgeConfiguration
import Mapping
import MongoSource
import NATS
import Synchronization

extension EpochRunner {
  /// Changes that an earlier leader, or this process as one, may have signalled: asked once in a tenure, when it
  /// has begun.
  func signalFloor(_ tenure: Tenure) async throws -> EventFloor {
    guard !configuration.signalRules.isEmpty else { return EventFloor() }
    if let known = service.signalFloor.withLock({ $0 }), known.epoch == tenure.epoch {
      return known.floor
    }
    let newest = try await service.askMongo { try await $0.newestPosition() }
    let floor = EventFloor(position: newest.position)
    service.signalFloor.withLock { $0 = (tenure.epoch, floor) }
    return floor
  }

  /// A refused signal is lost, and ends no epoch.
  func noteRefusedSignal(_ error: NATSError) {
    guard let refused = error.refused, refused.isPublish else { return }
    let isSignal = configuration.signalRules.contains { rule in
      configuration.subjectPatterns(of: rule).contains {
        NATSSubject.matches(refused.subject, filter: $0)
      }
    }
    if isSignal { service.refused(.nats, "the server refuses signals", "\(error)") }
  }
}
