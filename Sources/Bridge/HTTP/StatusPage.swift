import Cryptography
import Foundation

/// `/`: the status for people. One page without a framework or an external file, that refreshes itself from
/// `/status` and `/history`; its style and its script are in the files beside this one.
enum StatusPage {
  /// What it shows by itself, and what it shows when asked for a position.
  static let script = refreshing + explaining

  static let html = """
    <!doctype html>
    <html lang="en"><head><meta charset="utf-8"><title>tailrace</title>
    <meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark">
    <style>\(style)</style></head><body>
    <a class="skip" href="#checks-title">Skip to the checks</a>
    <header><h1>tailrace <span id="bridge"></span></h1><p id="health" class="pill" role="status" aria-live="polite">loading</p></header>
    <main>
    <section aria-labelledby="now-title"><h2 id="now-title" class="hidden">Now</h2>
    <p id="words">The status is being read.</p><p id="reason" hidden></p><p id="help" hidden></p>
    <dl id="facts"></dl></section>
    <section aria-labelledby="where-title"><h2 id="where-title">Where is an event?</h2>
    <form id="ask"><label for="position">Position</label> <input id="position" inputmode="decimal" autocomplete="off" \
    placeholder="1700000000.3" aria-describedby="ask-help"> <button>Explain</button></form>
    <p id="ask-help">An oplog position, or a message\u{2019}s Tailrace-Position. Every position on this page can be clicked.</p></section>
    <section aria-labelledby="hour-title"><h2 id="hour-title">The last hour</h2><div id="charts"></div></section>
    <section aria-labelledby="checks-title"><h2 id="checks-title" tabindex="-1">Checks</h2><div id="checks"></div></section>
    <section aria-labelledby="streams-title"><h2 id="streams-title">Streams</h2><div id="streams"></div></section>
    <section aria-labelledby="rules-title"><h2 id="rules-title">Rules</h2><div id="rules"></div></section>
    <section aria-labelledby="letters-title"><h2 id="letters-title">Dead letters</h2><p id="standing"></p><div id="letters"></div></section>
    <section aria-labelledby="refusals-title"><h2 id="refusals-title">Schema refusals</h2><div id="refusals"></div></section>
    <section aria-labelledby="cutover-title"><h2 id="cutover-title">Cut-over</h2><div id="cutover"></div></section>
    <section aria-labelledby="errors-title"><h2 id="errors-title">Last errors</h2><div id="errors"></div></section>
    </main>
    <dialog id="explanation" aria-labelledby="explanation-title"><h2 id="explanation-title" tabindex="-1" autofocus></h2>
    <div id="answer" aria-live="polite"></div><p><button id="close" type="button">Close</button></p></dialog>
    <footer><p id="version"></p><nav aria-label="Other answers"><a href="/healthz">/healthz</a> <a href="/status">/status</a> \
    <a href="/history">/history</a> <a href="/metrics">/metrics</a></nav></footer>
    <script>\(script)</script></body></html>
    """

  /// What the page may do: run its own script, and ask the server that it came from. Whatever text from outside
  /// might bring along is not run.
  static let policy = """
    default-src 'none'; script-src '\(hash(of: script))'; style-src '\(hash(of: style))'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'
    """

  private static func hash(of text: String) -> String {
    let digest = Array(text.utf8).withUnsafeBytes { text in
      SHA256.withDigest(of: text) { Data($0) }
    }
    return "sha256-" + digest.base64EncodedString()
  }
}
