package import BSON
package import Mapping
package import Oplog

/// One possible message of an event: its rule, and whether it is a dead letter.
package struct PlannedMessage: BitwiseCopyable, Sendable, Equatable {
  /// Nil: the dead letter of an event that no rule takes.
  package let rule: Int?
  /// How many rules took the event before.
  package let match: Int
  package let isLetter: Bool

  package init(rule: Int?, match: Int, isLetter: Bool) {
    self.rule = rule
    self.match = match
    self.isLetter = isLetter
  }
}

/// Whether a sink takes a message.
package enum Admission {
  case write
  /// Make it only to learn whether it can be made; nothing of it is kept.
  case check
  /// It isn't needed.
  case pass
  /// It can't be sent in any form: the rule's policy applies.
  case refuse(MappingError)
  /// Not now: ask again.
  case full
}

/// Where a `MessageMaker` writes its messages. Calls come in the order
/// `admit`, `begin`, subject into `output`, `beginHeaders`, header lines, `beginBody`, body, and then
/// `commit` or `cancel`.
///
/// The maker is generic over its sink and both are in this module, so the compiler specialises it: the
/// pipeline's sink costs as much as hand-written code.
package protocol MessageSink: ~Copyable {
  /// Whether the rule's messages are left out.
  func leavesOut(rule: Int) -> Bool

  /// - Parameter mapper: writes ids, where they decide.
  mutating func admit(
    _ message: PlannedMessage, of event: borrowing ChangeEvent, _ mapper: inout Mapper
  ) -> Admission

  /// The limits of the message that was begun last.
  var limits: MessageLimits { get }

  mutating func begin(_ message: PlannedMessage)
  mutating func beginHeaders()
  mutating func beginBody()
  var output: ByteWriter { get set }

  /// Header block and body so far, without what a publish protocol adds. Valid from `beginBody` on.
  var size: Int { get }
  var body: UnsafeRawBufferPointer { get }

  /// The message is complete.
  mutating func commit(_ message: PlannedMessage, of event: borrowing ChangeEvent)
  /// Discards the open message.
  mutating func cancel()
}

extension MessageSink where Self: ~Copyable {
  package func leavesOut(rule: Int) -> Bool { false }

  package mutating func admit(
    _ message: PlannedMessage, of event: borrowing ChangeEvent, _ mapper: inout Mapper
  ) -> Admission { .write }
}
