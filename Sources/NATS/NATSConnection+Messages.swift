public import NIOCore

extension NATSConnection {
  // MARK: - Publish

  /// Publishes a message, in one write with others of the same turn of the event loop. Waits only while
  /// too many bytes are pending.
  ///
  /// Returns before the server has received the message; see `flush`.
  ///
  /// - Throws: `invalidSubject`, `invalidHeader`, `payloadTooLarge`, `unsupported` (headers are disabled
  ///   at the server), `closed`, `cancelled` (nothing was sent).
  public func publish(
    _ subject: String, reply: String? = nil, headers: NATSHeaders? = nil, payload: [UInt8] = []
  ) async throws(NATSError) {
    try await shared.outbox.waitForSpace()
    try append(subject, reply, headers, payload.count, bounded: false) { $0.writeBytes(payload) }
  }

  public func publish(
    _ subject: String, reply: String? = nil, headers: NATSHeaders? = nil, payload: ByteBuffer
  ) async throws(NATSError) {
    try await shared.outbox.waitForSpace()
    try append(subject, reply, headers, payload.readableBytes, bounded: false) {
      $0.writeImmutableBuffer(payload)
    }
  }

  public func publish(
    _ subject: String, reply: String? = nil, headers: NATSHeaders? = nil, payload: String
  ) async throws(NATSError) {
    try await shared.outbox.waitForSpace()
    try append(subject, reply, headers, payload.utf8.count, bounded: false) {
      $0.writeString(payload)
    }
  }

  /// `publish` for synchronous code.
  ///
  /// - Throws: as `publish`, and `outboundFull` instead of waiting.
  public func enqueue(
    _ subject: String, reply: String? = nil, headers: NATSHeaders? = nil, payload: [UInt8] = []
  ) throws(NATSError) {
    try append(subject, reply, headers, payload.count, bounded: true) { $0.writeBytes(payload) }
  }

  public func enqueue(
    _ subject: String, reply: String? = nil, headers: NATSHeaders? = nil, payload: ByteBuffer
  ) throws(NATSError) {
    try append(subject, reply, headers, payload.readableBytes, bounded: true) {
      $0.writeImmutableBuffer(payload)
    }
  }

  /// PUB, or HPUB with headers.
  private func append(
    _ subject: String, _ reply: String?, _ headers: NATSHeaders?, _ payloadLength: Int,
    bounded: Bool, _ writePayload: (inout ByteBuffer) -> Void
  ) throws(NATSError) {
    do throws(NATSError) {
      try NATSSubject.requireLiteral(subject)
      if let reply { try NATSSubject.requireLiteral(reply) }
      let limits = shared.limits
      var headerLength: Int?
      if let headers, !headers.isEmpty {
        guard limits.headers else {
          throw NATSError(.unsupported, "the server does not support headers")
        }
        try headers.validate()
        headerLength = headers.encodedLength
      }
      let total = payloadLength + (headerLength ?? 0)
      guard total <= limits.maxPayload else {
        throw NATSError(
          .payloadTooLarge,
          "a message of \(total) bytes for '\(subject)' exceeds the server's max_payload of "
            + "\(limits.maxPayload)")
      }
      let wake = try shared.outbox.append(bounded: bounded) { out in
        out.writeStaticString(headerLength == nil ? "PUB " : "HPUB ")
        out.writeString(subject)
        out.writeStaticString(" ")
        if let reply {
          out.writeString(reply)
          out.writeStaticString(" ")
        }
        if let headerLength {
          out.writeString("\(headerLength) \(total)\r\n")
          headers?.encode(into: &out)
        } else {
          out.writeString("\(total)\r\n")
        }
        writePayload(&out)
        out.writeStaticString("\r\n")
      }
      if wake { wakeLoop() }
    } catch {
      throw error.at(server.endpoint)
    }
  }

  private func wakeLoop() {
    let handler = handler
    eventLoop.execute { handler.value.drainOutbox() }
  }

  // MARK: - Request

  /// Publishes a request and waits for one answer.
  ///
  /// - Throws: `noResponders` (status 503), `timeout`, `cancelled`, `permissionsViolation`, `closed`, and
  ///   the errors of `publish`. After `timeout` and `cancelled`, the request may have been processed.
  public func request(
    _ subject: String, headers: NATSHeaders? = nil, payload: [UInt8] = [],
    timeout: Duration = .seconds(5)
  ) async throws(NATSError) -> NATSMessage {
    try await request(
      subject, headers: headers, payload: ByteBuffer(bytes: payload), timeout: timeout)
  }

  public func request(
    _ subject: String, headers: NATSHeaders? = nil, payload: ByteBuffer,
    timeout: Duration = .seconds(5)
  ) async throws(NATSError) -> NATSMessage {
    let requests = shared.requests
    try await shared.outbox.waitForSpace()
    if requests.firstUse() {
      let wake = try shared.outbox.append(bounded: false) { line in
        line.writeString("SUB \(requests.prefix)* \(ConnectionShared.requestSid)\r\n")
      }
      if wake { wakeLoop() }
    }
    let id = requests.reserve()
    let endpoint = server.endpoint
    let cancelled = NATSError(.cancelled, "the request to '\(subject)' was cancelled")
    let answer = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let timer = eventLoop.scheduleTask(in: TimeAmount(timeout)) {
          requests.complete(
            id, .failure(NATSError(.timeout, "no answer from '\(subject)' within \(timeout)")))
        }
        requests.wait(id, subject: subject, timeout: timer, continuation)
        if Task.isCancelled {
          requests.complete(id, .failure(cancelled))
          return
        }
        do throws(NATSError) {
          try append(
            subject, requests.replySubject(id), headers, payload.readableBytes, bounded: false
          ) { $0.writeImmutableBuffer(payload) }
        } catch {
          requests.complete(id, .failure(error))
        }
      }
    } onCancel: {
      requests.complete(id, .failure(cancelled))
    }
    switch answer {
    case .success(let message): return message
    case .failure(let error): throw error.at(endpoint)
    }
  }

  // MARK: - Subscribe

  /// Subscribes; messages are buffered until they are read. Members of a `queue` group share the messages.
  ///
  /// - Parameters:
  ///   - maximumCount: maximum buffered messages; for an overflow see `NATSSubscription`.
  ///   - maximumBytes: maximum buffered bytes of headers and payloads.
  /// - Throws: `invalidSubject`, `draining`, `closed`. If the server refuses the subject, the sequence ends
  ///   with `permissionsViolation`.
  public func subscribe(
    _ subject: String, queue: String? = nil, maximumCount: Int = 65_536,
    maximumBytes: Int = 64 << 20
  ) async throws(NATSError) -> NATSSubscription {
    do throws(NATSError) {
      try NATSSubject.requireFilter(subject)
      if let queue { try NATSSubject.requireFilter(queue) }
    } catch {
      throw error.at(server.endpoint)
    }
    let sid = shared.nextSid()
    let handler = handler
    let buffer = MessageBuffer(
      subject: subject, maximumCount: maximumCount, maximumBytes: maximumBytes,
      onOverflow: { handler.value.unsubscribe(sid, maximum: nil) })
    let outcome = await onLoop { handler -> Result<Void, NATSError> in
      do throws(NATSError) {
        try handler.subscribe(
          subject, queue: queue, sid: sid, handler: buffer, onEnd: { buffer.finish($0) })
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    try outcome.get()
    return NATSSubscription(
      subject: subject, queue: queue, sid: sid, buffer: buffer, connection: self)
  }

  func unsubscribe(_ sid: UInt64, max: Int?) async {
    await onLoop { $0.unsubscribe(sid, maximum: max.map { UInt64(clamping: $0) }) }
  }

  func dropSubscription(_ sid: UInt64) {
    guard !shared.hasEnded else { return }
    let handler = handler
    eventLoop.execute { handler.value.unsubscribe(sid, maximum: nil) }
  }
}
