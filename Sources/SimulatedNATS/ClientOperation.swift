import JSON

/// A protocol operation of a client. Its views point into the bytes that were read.
enum ClientOperation {
  case connect(UnsafeRawBufferPointer)
  case ping
  case pong
  case subscribe(
    subject: UnsafeRawBufferPointer, queue: UnsafeRawBufferPointer, sid: UnsafeRawBufferPointer)
  /// After `most` messages altogether; 0: now.
  case unsubscribe(sid: UnsafeRawBufferPointer, most: Int)
  case publish(PublishedMessage)

  enum Result {
    case incomplete
    case operation(ClientOperation, length: Int)
    /// The server closes the connection; nil: without a word.
    case invalid(String?)
  }

  private static let longestLine = 4096
  private static var unknown: Result { .invalid("Unknown Protocol Operation") }

  /// The first operation of `bytes`, which begin with one and are not empty.
  static func read(_ bytes: UnsafeRawBufferPointer, maxPayload: Int) -> Result {
    var newline = 0
    while newline < bytes.count, bytes[newline] != 0x0A { newline += 1 }
    guard newline < bytes.count else {
      if !isPossible(bytes[0]) { return unknown }
      return bytes.count > longestLine ? .invalid("maximum control line exceeded") : .incomplete
    }
    if newline > longestLine { return .invalid("maximum control line exceeded") }
    let end = newline > 0 && bytes[newline - 1] == 0x0D ? newline - 1 : newline
    var words = Words(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
    let name = words.next()
    let length = newline + 1
    if isWord(name, "PUB") {
      return publish(bytes, length, &words, hasHeaders: false, maxPayload)
    } else if isWord(name, "HPUB") {
      return publish(bytes, length, &words, hasHeaders: true, maxPayload)
    } else if isWord(name, "PING") {
      return .operation(.ping, length: length)
    } else if isWord(name, "PONG") {
      return .operation(.pong, length: length)
    } else if isWord(name, "SUB") {
      return subscribe(&words, length)
    } else if isWord(name, "UNSUB") {
      let (sid, most, more) = (words.next(), words.next(), words.next())
      if sid.isEmpty || !more.isEmpty { return end == 5 ? unknown : .invalid(nil) }
      return .operation(.unsubscribe(sid: sid, most: number(most) ?? 0), length: length)
    } else if isWord(name, "CONNECT") {
      return .operation(.connect(words.rest), length: length)
    }
    return unknown
  }

  private static func subscribe(_ words: inout Words, _ length: Int) -> Result {
    let all = (words.next(), words.next(), words.next(), words.next())
    if all.0.isEmpty { return unknown }
    if all.1.isEmpty || !all.3.isEmpty { return .invalid(nil) }
    let hasQueue = !all.2.isEmpty
    return .operation(
      .subscribe(
        subject: all.0, queue: hasQueue ? all.1 : all.2, sid: hasQueue ? all.2 : all.1),
      length: length)
  }

  /// `subject [reply] [headers] size`, and the message behind the line.
  private static func publish(
    _ bytes: UnsafeRawBufferPointer, _ start: Int, _ words: inout Words, hasHeaders: Bool,
    _ maxPayload: Int
  ) -> Result {
    let subject = words.next()
    if subject.isEmpty { return unknown }
    var reply = words.next()
    var first = words.next()
    var second = words.next()
    let isEnd = words.next().isEmpty
    if hasHeaders ? second.isEmpty : first.isEmpty {
      // There is no reply subject.
      second = first
      first = reply
      reply = UnsafeRawBufferPointer(rebasing: reply[..<0])
    }
    let sizes = hasHeaders ? (first, second) : (second, first)
    guard isEnd, hasHeaders || second.isEmpty, let size = number(sizes.1),
      let headers = hasHeaders ? number(sizes.0) : 0, headers <= size
    else { return .invalid(nil) }
    if size > maxPayload { return .invalid("Maximum Payload Violation") }
    let end = start + size
    guard bytes.count >= end + 2 else {
      if bytes.count > end, bytes[end] != 0x0D { return unknown }
      return .incomplete
    }
    guard bytes[end] == 0x0D, bytes[end + 1] == 0x0A else { return unknown }
    return .operation(
      .publish(
        PublishedMessage(
          subject: subject, reply: reply,
          headers: UnsafeRawBufferPointer(rebasing: bytes[start..<start + headers]),
          payload: UnsafeRawBufferPointer(rebasing: bytes[start + headers..<end]))),
      length: end + 2)
  }

  private static func isWord(_ word: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
    guard word.count == name.utf8CodeUnitCount else { return false }
    for index in 0..<word.count where word[index] & 0xDF != name.utf8Start[index] { return false }
    return true
  }

  private static func isPossible(_ byte: UInt8) -> Bool {
    switch byte & 0xDF {
    case UInt8(ascii: "P"), UInt8(ascii: "H"), UInt8(ascii: "S"), UInt8(ascii: "U"),
      UInt8(ascii: "C"):
      true
    default: false
    }
  }

  private static func number(_ word: UnsafeRawBufferPointer) -> Int? {
    guard !word.isEmpty, word.count <= 9 else { return nil }
    var value = 0
    for byte in word {
      let digit = byte &- 48
      guard digit <= 9 else { return nil }
      value = value * 10 + Int(digit)
    }
    return value
  }
}

/// A message as a client sent it. Its views are valid while the bytes that were read are handled.
struct PublishedMessage {
  var subject: UnsafeRawBufferPointer
  var reply: UnsafeRawBufferPointer
  /// The whole block, with its version line.
  var headers: UnsafeRawBufferPointer
  var payload: UnsafeRawBufferPointer
}

/// The words of a line, which it borrows.
private struct Words {
  private let line: UnsafeRawBufferPointer
  private var at = 0

  init(_ line: UnsafeRawBufferPointer) { self.line = line }

  /// Empty at the end.
  mutating func next() -> UnsafeRawBufferPointer {
    while at < line.count, isBlank(line[at]) { at += 1 }
    let start = at
    while at < line.count, !isBlank(line[at]) { at += 1 }
    return UnsafeRawBufferPointer(rebasing: line[start..<at])
  }

  var rest: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: line[at...]) }

  private func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}

/// What a client says of itself.
struct ConnectOptions {
  var isVerbose: Bool
  var isPedantic: Bool
  var hearsItself: Bool
  var hasHeaders: Bool
  var wantsNoResponders: Bool
  var takesInfo: Bool

  /// Nil: not JSON.
  init?(_ text: UnsafeRawBufferPointer) {
    guard let json = try? JSONValue(parsing: text) else { return nil }
    isVerbose = json["verbose"]?.boolValue ?? true
    isPedantic = json["pedantic"]?.boolValue ?? true
    hearsItself = json["echo"]?.boolValue ?? true
    hasHeaders = json["headers"]?.boolValue ?? false
    wantsNoResponders = json["no_responders"]?.boolValue ?? false
    takesInfo = (json["protocol"]?.integer(Int.self) ?? 0) >= 1
  }
}
