import BSON
import Bridge
package import BridgeConfiguration
import Mapping
package import Oplog

/// Makes every event's messages and counts the outcomes.
package struct EventCoverage: ~Copyable {
  private var maker: MessageMaker
  private var sink: BufferSink
  var coverage: Coverage

  package init(_ configuration: BridgeConfiguration, sourceName: String, maximumPayload: Int) {
    maker = MessageMaker(configuration, sourceName: sourceName)
    sink = BufferSink(configuration, maximumPayload: maximumPayload)
    coverage = Coverage(
      rules: configuration.rules.map {
        Coverage.Rule(name: $0.name, stream: configuration.destination(of: $0))
      })
  }

  package mutating func take(_ event: ChangeEvent) {
    var cursor = maker.begin(event)
    coverage.note(event: event, isMatched: cursor.rule != nil)
    while !cursor.isDone {
      switch maker.step(event, &cursor, buffer: &sink) {
      case .sent(let rule):
        coverage.note(
          rule: rule, subject: sink.subject.fnv1a, size: sink.output.count, at: event.position)
      case .filtered(let rule): coverage.note(filteredBy: rule)
      case .invalid(let rule, let error): coverage.note(rule: rule, error, at: event.position)
      case .halt(let halt):
        coverage.note(halt, at: event.position)
        // What follows is reported too.
        maker.skip(event, &cursor)
      case .deadLetter, .dropped, .unmatched, .passed, .full: break
      }
    }
  }

  /// For tests: what was counted for one rule.
  package func counts(rule: Int) -> (messages: UInt64, invalid: UInt64, filtered: UInt64) {
    let rule = coverage.rules[rule]
    return (rule.messages, rule.invalid, rule.filtered)
  }

  package var halts: UInt64 { coverage.halts }
  package var unmatched: UInt64 { coverage.unmatched }
}

extension UnsafeRawBufferPointer {
  fileprivate var fnv1a: UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in self { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return hash
  }
}
