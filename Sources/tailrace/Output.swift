import Bridge
import BridgeConfiguration
import Foundation

/// A line of results on standard output. In this program it takes the place of Swift's own `print`,
/// which does not notice when nobody gets the results: a full disk, a reader that is gone, a closed
/// descriptor. Then the program ends with exit code 74, without a word where the reader has just
/// had enough (`tailrace decode … | head`).
func print(_ line: some CustomStringConvertible) {
  printPart(line.description + "\n")
}

/// Text on standard output, as it is.
func printPart(_ text: String) {
  guard let reason = writeResults(text) else { return }
  if reason != EPIPE {
    printError(
      "the results can't be written to standard output: \(String(cString: strerror(reason)))")
  }
  exit(OutputExit.lost)
}

/// For a program that has to clean up before it ends: why the text can't be written; nil if it is.
func writeResults(_ text: String) -> Int32? {
  let bytes = Array(text.utf8)
  var written = 0
  while written < bytes.count {
    let count = bytes.withUnsafeBytes { buffer in
      write(STDOUT_FILENO, buffer.baseAddress?.advanced(by: written), buffer.count - written)
    }
    if count > 0 {
      written += count
      continue
    }
    let reason = errno
    if count < 0, reason == EINTR { continue }
    if count < 0, reason == EAGAIN {
      // Somebody has made the descriptor non-blocking.
      var descriptor = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
      poll(&descriptor, 1, -1)
      continue
    }
    return reason
  }
  return nil
}

enum OutputExit {
  /// EX_IOERR of sysexits.h: results could not be written.
  static let lost: Int32 = 74
}

/// Text that others have written, so that it can't drive a terminal.
func printable(_ text: String, keepingLines: Bool = false) -> String {
  TerminalText.printable(text, keepingLines: keepingLines)
}

/// An error, on standard error. It may quote names and documents: without `lines`, all of it is one line.
func printError(_ text: String, lines: Bool = false) {
  StandardError.write("tailrace: \(printable(text, keepingLines: lines))\n")
}

/// How far something is, on standard error.
func printNote(_ text: String) {
  StandardError.write("\(printable(text, keepingLines: true))\n")
}
