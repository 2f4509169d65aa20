import Bridge
import Foundation
import JSON
import Oplog
import Parity

extension VerifyReport {
  /// The report as a page of its own, fit to be attached to a change request: no scripts, nothing loaded
  /// from elsewhere, readable in print.
  public var html: String { page.text }

  private var page: HTML {
    """
    <!doctype html>
    <html lang="en"><head><meta charset="utf-8"><title>tailrace verify: \(verdict.rawValue)</title>
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <style>
    body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24;background:#fff}
    h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
    .verdict{display:inline-block;padding:.1rem .7rem;border-radius:.4rem;color:#fff}
    .PASS{background:#1a7f37}.FAIL{background:#c62828}.INCONCLUSIVE{background:#9a6700}
    table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
    th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #d0d7de;vertical-align:top}
    th{font-weight:600}td.n,th.n{text-align:right}td.bad{color:#c62828;font-weight:600}
    code{font:13px/1.4 ui-monospace,monospace;overflow-wrap:anywhere}
    svg{width:100%;height:3.4rem}
    @media (prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#30363d}}
    </style></head><body>
    <h1>tailrace verify <span class="verdict \(verdict.rawValue)">\(verdict.rawValue)</span></h1>
    \(reasons.map { "<p>Because: \($0)</p>" }, separator: "\n")
    \(notes.map { "<p>\($0)</p>" }, separator: "\n")
    \(facts)
    \(timeline)
    <h2>Streams</h2>\(streamTable)
    <h2>Rules</h2>\(ruleTable)
    \(mismatchTable)
    </body></html>

    """
  }

  private var facts: HTML {
    var rows: [(String, String)] = [
      ("Level", level),
      ("Range", "\(text(from)) to \(text(to))"),
      ("Settled to", settledTo.map { "\($0) (\(Self.time($0)))" } ?? "–"),
      ("Changes", "\(events), of them taken by no rule \(unmatched), dropped by rules \(dropped)"),
      ("Messages", "\(expected) expected, \(observed) read back, \(pending) pending"),
      ("Differences", "\(counts.total)"),
      ("Configuration", configurationHash),
      ("Made", "\(startedAt) to \(finishedAt)"),
    ]
    for (count, name) in [
      (superseded, "Pushed out by newer messages of their subjects"),
      (resolvedDeadLetters, "Dead letters taken out of their stream"),
      (idConflicts, "Dead letters because of ids that were other events'"),
      (refused, "Dead letters because the server refused the messages"),
      (notHeld, "Removed by the streams' limits, not judged"),
      (imagesNotCompared, "Differing in documents read afterwards, not judged"),
    ] where count > 0 {
      rows.append((name, "\(count)"))
    }
    return "<table>\(rows.map { "<tr><th>\($0)</th><td>\($1)</td></tr>" })</table>"
  }

  private func text(_ position: EventPosition?) -> String {
    position.map { "\($0.entry) (\(Self.time($0.entry)))" } ?? "–"
  }

  private static func time(_ position: OplogPosition) -> String {
    Date(timeIntervalSince1970: Double(position.seconds)).formatted(.iso8601)
  }

  /// Where in the range the differences are.
  private var timeline: HTML {
    guard let from, let to, !mismatches.isEmpty else { return "" }
    let begin = Double(from.entry.seconds)
    let span = max(1, Double(to.entry.seconds) - begin)
    let marks = mismatches.compactMap { mismatch -> HTML? in
      guard let position = mismatch.position, position >= from, position <= to else { return nil }
      let x = (Double(position.entry.seconds) - begin) / span * 980 + 10
      return
        "<line x1=\"\(Int(x))\" x2=\"\(Int(x))\" y1=\"6\" y2=\"26\" stroke=\"#c62828\" stroke-width=\"2\"><title>\(mismatch.kind.rawValue) \("\(position)")</title></line>"
    }
    return """
      <h2>Where the first \(mismatches.count) are in the range</h2>
      <svg viewBox="0 0 1000 48" role="img" aria-label="Differences by time">
      <line x1="10" x2="990" y1="26" y2="26" stroke="currentColor"/>\(marks)
      <text x="10" y="44" fill="currentColor" font-size="12">\(Self.time(from.entry))</text>
      <text x="990" y="44" fill="currentColor" font-size="12" text-anchor="end">\(Self.time(to.entry))</text>
      </svg>
      """
  }

  private static let classHeads: [HTML] = MismatchClass.allCases.map { kind in
    "<th class=n>\(kind.rawValue.replacing("_", with: " "))</th>"
  }

  private static func cells(_ counts: MismatchCounts) -> [HTML] {
    MismatchClass.allCases.map { kind in
      "<td class=\"n\(counts[kind] > 0 ? " bad" : "")\">\(counts[kind])</td>"
    }
  }

  private var streamTable: HTML {
    let rows = streams.map { stream -> HTML in
      """
      <tr><td>\(stream.name)</td><td class=n>\(stream.expected)</td>\
      <td class=n>\(stream.observed)</td><td class=n>\(stream.foreign)</td>\(Self.cells(stream.mismatches))</tr>
      """
    }
    return """
      <table><tr><th>Stream</th><th class=n>expected</th><th class=n>found</th><th class=n>of others</th>\
      \(Self.classHeads)</tr>\(rows)</table>
      """
  }

  private var ruleTable: HTML {
    let rows = rules.map { rule -> HTML in
      """
      <tr><td>\(rule.name)</td><td>\(rule.group)</td>\
      <td class=n>\(rule.expected)</td>\(Self.cells(rule.mismatches))</tr>
      """
    }
    return """
      <table><tr><th>Rule</th><th>Group</th><th class=n>expected</th>\(Self.classHeads)</tr>\
      \(rows)</table>
      """
  }

  private var mismatchTable: HTML {
    guard !mismatches.isEmpty else { return "" }
    let rows = mismatches.map { mismatch -> HTML in
      """
      <tr><td>\(mismatch.kind.rawValue)</td><td><code>\(mismatch.position.map { "\($0)" } ?? "–")</code></td>\
      <td><code>\(mismatch.id)</code></td><td><code>\(mismatch.subject)</code></td>\
      <td>\(mismatch.stream) \(mismatch.sequence.map { "\($0)" } ?? "")</td>\
      <td>\(mismatch.detail)</td></tr>
      """
    }
    let more: HTML =
      counts.total > UInt64(mismatches.count)
      ? "<p>\(counts.total - UInt64(mismatches.count)) more are in the file of mismatches.</p>" : ""
    return """
      <h2>Differences</h2>
      <table><tr><th>Class</th><th>Position</th><th>Id</th><th>Subject</th><th>Stream, sequence</th><th>What</th></tr>
      \(rows, separator: "\n")</table>\(more)
      """
  }
}
