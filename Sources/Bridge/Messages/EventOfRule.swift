package import Oplog

/// Names what a rule made of an event.
package struct EventOfRule: Hashable, Sendable {
  package var position: EventPosition
  package var rule: String

  package init(position: EventPosition, rule: String) {
    self.position = position
    self.rule = rule
  }
}
