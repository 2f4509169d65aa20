import Bytes
import JSON

/// Reads what the stream holds under ids that are to be published, so that it can be compared.
///
/// From any server that has the stream's messages, where the stream allows that (`allow_direct`): the
/// leader's own answers (JSON and Base64) cost the server three times as much. A message never changes, so
/// a server that is behind only lacks it; and a mirror may be of an earlier stream of that name. Hence
/// nothing is concluded from what is not there, or is not the message with that id: the leader is asked.
extension PublishLane {
  static let readsInFlight = 512

  /// Direct reads are under way. They may never be answered: where the stream no longer allows them, or a
  /// leaf node's permissions do not, requests are dropped without a word.
  public var awaitsDirectReads: Bool {
    guard readsDirectly, let stage else { return false }
    return stage.phase == .reading && stage.awaited > 0
  }

  /// Reads originals from the leader from now on, and asks it for those that are not answered yet.
  public func readFromLeader() {
    guard readsDirectly else { return }
    readsDirectly = false
    guard let stage, stage.phase == .reading else { return }
    for index in stage.toRead[..<stage.asked] where stage.messages[index].question == .direct {
      ask(for: index, directly: false)
    }
  }

  /// No more at once than the API takes.
  func askForOriginals() {
    guard let stage else { return }
    var underway = stage.asked - (stage.toRead.count - stage.awaited)
    // Many questions in one write cost both sides much less than one at a time.
    guard underway <= Self.readsInFlight / 2 else { return }
    while stage.asked < stage.toRead.count, underway < Self.readsInFlight {
      let index = stage.toRead[stage.asked]
      stage.asked += 1
      underway += 1
      ask(for: index, directly: readsDirectly)
    }
  }

  private func ask(for index: Int, directly: Bool) {
    guard let stage, case .held(let sequence) = stage.messages[index].fate else { return }
    stage.messages[index].question = directly ? .direct : .leader
    output.append(directly ? "PUB $JS.API.DIRECT.GET." : "PUB $JS.API.STREAM.MSG.GET.")
    output.append(options.stream)
    output.append(UInt8(ascii: " "))
    output.append(inbox)
    output.append(directly ? ".d" : ".g")
    output.append(decimal: UInt64(index))
    output.append(UInt8(ascii: " "))
    let size = output.appendPlaceholder(Self.sizeDigits)
    output.append("\r\n")
    let start = output.count
    output.append("{\"seq\":")
    output.append(decimal: sequence)
    output.append("}")
    output.patch(decimal: output.count - start, at: size, width: Self.sizeDigits)
    output.append("\r\n")
  }

  // MARK: - Answers of any server

  /// The index in a direct read's reply subject: `d<index>`. (Fast ingest's have more than digits.)
  func directAnswer(_ token: UnsafeRawBufferPointer) -> Int? {
    guard token.first == UInt8(ascii: "d") else { return nil }
    return number(UnsafeRawBufferPointer(rebasing: token.dropFirst())).map { Int($0) }
  }

  func takeDirect(
    _ index: Int, _ headers: UnsafeRawBufferPointer, _ payload: UnsafeRawBufferPointer,
    status: Int?
  ) throws(JetStreamError) -> LaneProgress {
    // One that came after the leader was asked says nothing new, and there may be no such stage any more.
    guard readsDirectly, let stage, stage.phase == .reading, index < stage.messages.count,
      stage.messages[index].question == .direct,
      case .held(let sequence) = stage.messages[index].fate
    else { return LaneProgress(acked: 0, duplicates: 0) }
    if status == 503 {
      // Nobody takes such requests.
      readFromLeader()
      return .moved
    }
    guard status == nil, let original = DirectMessage(headers), original.sequence == sequence,
      original.stream.elementsEqual(options.stream.utf8),
      let id = original.headers.value(ofHeader: "Nats-Msg-Id"),
      id.elementsEqual(messageID(staged.bytes, stage.messages[index].place))
    else {
      ask(for: index, directly: false)
      return .moved
    }
    return try compare(
      index,
      DuplicateJudge.Content(
        headers: Array(original.headers), payload: Array(payload), sequence: sequence))
  }

  // MARK: - Answers of the leader

  func takeOriginal(
    _ index: Int, _ payload: UnsafeRawBufferPointer
  ) throws(JetStreamError) -> LaneProgress {
    guard stage?.phase == .reading, stage?.awaited ?? 0 > 0,
      stage?.messages[index].question == .leader
    else { throw unexpected("a message that was not asked for", remedy: .reread) }
    return try compare(index, try original(payload))
  }

  private func compare(
    _ index: Int, _ original: DuplicateJudge.Content?
  ) throws(JetStreamError) -> LaneProgress {
    stage?.messages[index].question = .none
    let isPublished = stage?.isConfirming == true && isOwn(index, original)
    if !isPublished, let difference = options.judge?.difference(content(index), original) {
      note(conflict: index, difference)
    }
    stage?.awaited -= 1
    if stage?.awaited == 0 { return try publishAbsent() }
    let before = output.count
    askForOriginals()
    // Now and then, so that a slow disk is not taken for silence.
    let isAlive = (stage?.awaited ?? 0) % 32 == 0
    return output.count > before || isAlive ? .moved : LaneProgress(acked: 0, duplicates: 0)
  }

  /// The stored message that an answer holds; nil if there is none any more.
  private func original(
    _ payload: UnsafeRawBufferPointer
  ) throws(JetStreamError) -> DuplicateJudge.Content? {
    if let content = DuplicateJudge.Content(answer: payload) { return content }
    let answer: JSONValue
    do {
      answer = try JSONValue(parsing: payload)
    } catch {
      throw unexpected("a stored message that can't be read: \(error)", remedy: .backOff)
    }
    if let refused = answer["error"] {
      let code: Int = refused["err_code"]?.integer() ?? 0
      guard code == JetStreamCode.noMessage else {
        throw JetStreamError(
          code: code, operation: "STREAM.MSG.GET.\(options.stream)",
          serverSays: refused["description"]?.stringValue ?? "")
      }
      return nil
    }
    guard let stored = answer["message"].flatMap({ StoredMessage($0) }) else {
      throw unexpected("an answer without a message", remedy: .reread)
    }
    let lines = stored.headers.map { "\($0.name): \($0.value)\r\n" }.joined()
    return DuplicateJudge.Content(
      headers: Array(lines.utf8), payload: stored.payload, sequence: stored.sequence)
  }
}

extension DuplicateJudge.Content {
  /// Takes what is needed from an answer of the server's, without reading it as JSON; nil where it does
  /// not look as all servers from 2.9 to 2.15 write it.
  ///
  /// No text within the answer can be taken for these members: quotes in strings are escaped.
  init?(answer: UnsafeRawBufferPointer) {
    guard let place = answer.end(of: "\"seq\":"),
      let headers = answer.string(behind: "\"hdrs\":\""),
      let lines = Base64.decode(String(decoding: headers, as: UTF8.self)),
      answer.end(of: "\"error\":") == nil
    else { return nil }
    var sequence: UInt64 = 0
    for digit in answer[place...].prefix(19) {
      guard digit >= 48, digit <= 57 else { break }
      sequence = sequence * 10 + UInt64(digit - 48)
    }
    guard sequence > 0 else { return nil }
    let body = answer.string(behind: "\"data\":\"").map { Array($0) } ?? []
    self.init(headers: lines, body: body, isBase64: true, sequence: sequence)
  }
}

extension UnsafeRawBufferPointer {
  /// Behind the first occurrence of the literal.
  fileprivate func end(of literal: StaticString) -> Int? {
    let length = literal.utf8CodeUnitCount
    let wanted = literal.utf8Start
    guard count >= length else { return nil }
    var at = 0
    while at <= count - length {
      if self[at] == wanted[0] {
        var same = 1
        while same < length, self[at + same] == wanted[same] { same += 1 }
        if same == length { return at + length }
      }
      at += 1
    }
    return nil
  }

  /// From there to the next quote.
  fileprivate func string(behind literal: StaticString) -> UnsafeRawBufferPointer? {
    guard let start = end(of: literal) else { return nil }
    var end = start
    while end < count, self[end] != UInt8(ascii: "\"") { end += 1 }
    return end < count ? UnsafeRawBufferPointer(rebasing: self[start..<end]) : nil
  }
}
