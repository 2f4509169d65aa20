import NIOCore
import NIOHTTP1

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Answers one connection's requests in their order, as fast as the client takes the answers: those that
/// it has sent ahead wait, and are not even read, while it does not.
final class RequestHandler: ChannelDuplexHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  private enum Waiting {
    case request(HTTPRequestHead)
    /// What has come is not HTTP.
    case malformed
    /// The client has closed its side: nothing more will come.
    case end
  }

  private let pages: ReadOnlyPages
  private var waiting = CircularBuffer<Waiting>()
  private var isClosing = false
  /// A page that takes its time is being made; what is behind it waits.
  private var making: Task<Void, Never>?
  private var wantsRead = false

  init(_ pages: ReadOnlyPages) { self.pages = pages }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    // There is no request whose body matters.
    if case .head(let head) = unwrapInboundIn(data) { take(.request(head), context) }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .some(.inputClosed) = event as? ChannelEvent { take(.end, context) }
    if event is ConnectionTimeouts.Drain { making?.cancel() }
    context.fireUserInboundEventTriggered(event)
  }

  func channelInactive(context: ChannelHandlerContext) {
    making?.cancel()
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if error is HTTPParserError { take(.malformed, context) } else { context.close(promise: nil) }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    answerWaiting(context)
    context.fireChannelWritabilityChanged()
  }

  func read(context: ChannelHandlerContext) {
    if waiting.isEmpty { context.read() } else { wantsRead = true }
  }

  private func take(_ next: Waiting, _ context: ChannelHandlerContext) {
    waiting.append(next)
    answerWaiting(context)
  }

  private func answerWaiting(_ context: ChannelHandlerContext) {
    while !isClosing, making == nil, context.channel.isWritable, let next = waiting.popFirst() {
      switch next {
      case .request(let head):
        switch pages.reply(head) {
        case .now(let answer): write(answer, head.version, isLast: !head.isKeepAlive, context)
        case .later(let page, let withBody): make(page, withBody, for: head, context)
        }
      case .malformed:
        let page = HTTPPage.text(.badRequest, "this is not HTTP/1.1\n")
        write(ReadOnlyPages.Answer(page: page), .http1_1, isLast: true, context)
      case .end: close(context)
      }
    }
    if isClosing { waiting.removeAll() }
    if waiting.isEmpty, wantsRead {
      wantsRead = false
      context.read()
    }
  }

  /// Has the page made elsewhere, and writes it when it is there.
  private func make(
    _ page: @escaping @Sendable () async -> HTTPPage, _ withBody: Bool, for head: HTTPRequestHead,
    _ context: ChannelHandlerContext
  ) {
    context.triggerUserOutboundEvent(ConnectionTimeouts.Making(), promise: nil)
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    let eventLoop = context.eventLoop
    making = Task {
      let page = await page()
      eventLoop.execute {
        let (handler, context) = bound.value
        handler.making = nil
        guard context.channel.isActive else { return }
        handler.write(
          ReadOnlyPages.Answer(page: page, withBody: withBody), head.version,
          isLast: !head.isKeepAlive, context)
        handler.answerWaiting(context)
      }
    }
  }

  private func write(
    _ answer: ReadOnlyPages.Answer, _ version: HTTPVersion, isLast: Bool,
    _ context: ChannelHandlerContext
  ) {
    let body = ByteBuffer(string: answer.page.body)
    var headers = answer.headers
    headers.add(name: "Content-Type", value: answer.page.type)
    headers.add(name: "Content-Length", value: "\(body.readableBytes)")
    headers.add(name: "Cache-Control", value: "no-store")
    if let seconds = answer.page.retryAfter {
      headers.add(name: "Retry-After", value: "\(seconds)")
    }
    headers.add(name: "Content-Security-Policy", value: answer.page.policy)
    headers.add(name: "X-Content-Type-Options", value: "nosniff")
    headers.add(name: "X-Frame-Options", value: "DENY")
    headers.add(name: "Referrer-Policy", value: "no-referrer")
    headers.add(name: "Date", value: Self.date(time(nil)))
    headers.add(name: "Server", value: "tailrace")
    if isLast {
      headers.add(name: "Connection", value: "close")
    } else if version == .http1_0 {
      headers.add(name: "Connection", value: "keep-alive")
    }
    let head = HTTPResponseHead(version: version, status: answer.page.status, headers: headers)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    if answer.withBody { context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil) }
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    if isLast { close(context) }
  }

  /// Our side, behind everything that is written: a connection closed at once might lose the last answer.
  private func close(_ context: ChannelHandlerContext) {
    isClosing = true
    context.close(mode: .output, promise: nil)
  }

  /// RFC 9110, 5.6.7: in English, whatever the language here.
  static func date(_ seconds: time_t) -> String {
    var seconds = seconds
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    return "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) "
      + "\(parts.tm_year + 1900) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
  }

  private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]
}
