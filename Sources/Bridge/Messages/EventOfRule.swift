package import Oplog

/// Identifies a rule's message of an event.
package struct EventOfRule: Hashable, Sendable {
  package var position: EventPosition
  package var rule: String

  package init(position: EventPosition, rule: String) {
    self.position = position
    self.rule = rule
  }
}
