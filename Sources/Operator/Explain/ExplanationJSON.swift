import Bridge
public import JSON
import Oplog

/// What of an explanation its JSON shows.
package struct ExplanationView: Sendable {
  /// False: nothing that documents say, only where what is, and how large.
  package var showsValues = true
  /// Texts and bodies that are larger are left out; their sizes stay.
  package var mostBytes = Int.max

  package init() {}

  /// For where anybody may read it.
  package static let withoutValues: ExplanationView = {
    var view = ExplanationView()
    view.showsValues = false
    return view
  }()

  func text(_ text: String?) -> JSONValue {
    guard showsValues, let text, text.utf8.count <= mostBytes else { return .null }
    return .string(text)
  }

  func parsed(_ bytes: [UInt8]) -> JSONValue {
    guard showsValues, !bytes.isEmpty, bytes.count <= mostBytes else { return .null }
    return (try? JSONValue(parsing: bytes)) ?? .string(String(decoding: bytes, as: UTF8.self))
  }
}

extension Explanation {
  private var verdict: String {
    switch exitCode {
    case 0: "ok"
    case 1: "missing"
    case 2: "inconclusive"
    default: "unavailable"
    }
  }

  public var json: JSONValue { json(ExplanationView()) }

  package func json(_ view: ExplanationView) -> JSONValue {
    [
      "question": .string(question),
      "verdict": .string(verdict),
      "events": .array(events.map { $0.json(view) }),
      "notes": .array(notes.map { .string($0) }),
    ]
  }
}

extension Explanation.Event {
  fileprivate func json(_ view: ExplanationView) -> JSONValue {
    var value: JSONValue = [
      "position": position.map { .string($0.description) } ?? .null,
      "source": .string(derived == nil ? "stream" : source),
    ]
    if let derived {
      value["operation"] = .string(derived.operation)
      value["namespace"] = .string(derived.namespace)
      value["written"] = derived.wallTime.map { .string(CutoverTime.text($0)) } ?? .null
      value["document_key"] =
        derived.documentKey.map { view.parsed(Array($0.utf8)) } ?? .null
      value["event"] = view.parsed(Array(derived.text.utf8))
      value["event_bytes"] = .int(derived.text.utf8.count)
      value["rules"] = .array(
        derived.rules.map {
          [
            "name": .string($0.name), "takes": .bool($0.takes), "verdict": .string($0.verdict),
            "reason": .string(view.showsValues ? $0.reason : $0.outline),
          ]
        })
    }
    value["outcomes"] = .array(outcomes.map { $0.json(view) })
    value["others"] = .array(others.map { $0.json(view) })
    value["orphan"] = .bool(isOrphan)
    return value
  }
}

extension Explanation.Outcome {
  fileprivate func json(_ view: ExplanationView) -> JSONValue {
    var value: JSONValue = [
      "outcome": .string(derived.kindName), "rule": derived.rule.map { .string($0) } ?? .null,
      "stream": derived.stream.map { .string($0) } ?? .null,
    ]
    if let error = derived.error {
      value["error"] = .string(error.code)
      value["detail"] =
        view.showsValues ? .string(error.detail) : derived.outline.map { .string($0) } ?? .null
    }
    if derived.isStored || derived.kind == .signal {
      value["message"] = [
        "subject": view.text(derived.subject),
        "headers": view.showsValues
          ? .object(derived.headers.map { JSONValue.Member($0.name, view.text($0.value)) }) : .null,
        "body": view.parsed(derived.body), "body_bytes": .int(derived.body.count),
      ]
    }
    switch derived.schema {
    case nil: value["schema"] = .null
    case .valid(let path): value["schema"] = ["path": .string(path), "valid": true]
    case .invalid(let path, let detail):
      value["schema"] = [
        "path": .string(path), "valid": false,
        "detail": view.showsValues ? .string(detail) : derived.outline.map { .string($0) } ?? .null,
      ]
    }
    value["stored"] = .array(stored.map { $0.json(view) })
    value["absence"] =
      absence.map {
        [
          "state": .string($0.state.rawValue), "code": .string($0.code),
          "reason": .string(view.showsValues ? $0.reason : outline(of: $0)),
        ]
      } ?? .null
    value["differences"] = .array(
      view.showsValues || differences.isEmpty
        ? differences.map { view.text($0) } : ["what is stored differs from what the rules make"])
    return value
  }

  /// The reasons that name an id, or quote an error.
  private func outline(of absence: Absence) -> String {
    switch absence.code {
    case "dropped":
      "it is invalid, and the rule drops such events: \(derived.error?.code ?? ""): \(derived.outline ?? "")"
    case "halt":
      "the bridge halts at it, with exit code 70: \(derived.outline ?? "the log says why")"
    case "producers":
      "its group is committed: its producers have to publish it under its id, and have not"
    default: absence.reason
    }
  }
}

extension Explanation.Stored {
  fileprivate func json(_ view: ExplanationView) -> JSONValue {
    [
      "stream": .string(stream), "seq": .int(sequence), "subject": view.text(subject),
      "time": .string(time), "id": view.text(own.storedID), "by_bridge": .bool(isOurs),
      "body_bytes": .int(body.count), "rule": own.rule.map { .string($0) } ?? .null,
      "error": own.error.map { .string($0) } ?? .null,
    ]
  }
}
