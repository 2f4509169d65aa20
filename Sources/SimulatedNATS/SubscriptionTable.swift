import SimulatedJetStream

/// Who subscribes to a subject: literal subjects by their hash, the others one by one.
struct SubscriptionTable {
  private var literal: [UInt64: [Subscription]] = [:]
  private var wildcards: [Wildcard] = []
  private var turn = 0

  private struct Wildcard {
    var subscription: Subscription
    /// What precedes the first wildcard.
    var prefix: Int
    /// Nothing but `>` follows.
    var takesRest: Bool

    init(_ subscription: Subscription) {
      self.subscription = subscription
      let subject = subscription.subject
      var start = 0
      while start < subject.count {
        let end = subject[start...].firstIndex(of: UInt8(ascii: ".")) ?? subject.count
        if end - start == 1, SubscriptionTable.isWild(subject[start]) { break }
        start = end + 1
      }
      prefix = min(start, subject.count)
      takesRest = start == subject.count - 1 && subject[start] == UInt8(ascii: ">")
    }

    func matches(_ other: UnsafeRawBufferPointer) -> Bool {
      guard other.count > prefix else { return false }
      return subscription.subject.withUnsafeBufferPointer { own in
        for index in 0..<prefix where own[index] != other[index] { return false }
        return takesRest || SubjectPattern.matches(own, other.bindMemory(to: UInt8.self))
      }
    }
  }

  fileprivate static func isWild(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "*") || byte == UInt8(ascii: ">")
  }

  private static func hash(_ subject: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in subject { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return hash
  }

  private static func isLiteral(_ subject: [UInt8]) -> Bool {
    !subject.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
      .contains { $0.count == 1 && isWild($0[$0.startIndex]) }
  }

  mutating func insert(_ subscription: Subscription) {
    if Self.isLiteral(subscription.subject) {
      let hash = subscription.subject.withUnsafeBytes { Self.hash($0) }
      literal[hash, default: []].append(subscription)
    } else {
      wildcards.append(Wildcard(subscription))
    }
  }

  mutating func remove(_ subscription: Subscription) {
    if Self.isLiteral(subscription.subject) {
      let hash = subscription.subject.withUnsafeBytes { Self.hash($0) }
      literal[hash]?.removeAll { $0 === subscription }
      if literal[hash]?.isEmpty ?? false { literal[hash] = nil }
    } else {
      wildcards.removeAll { $0.subscription === subscription }
    }
  }

  /// Adds the subscriptions that get a message on `subject`: of each queue group one, the members in turn.
  mutating func find(_ subject: UnsafeRawBufferPointer, into found: inout [Subscription]) {
    var hasGroups = false
    func take(_ subscription: Subscription) {
      if !subscription.queue.isEmpty { hasGroups = true }
      found.append(subscription)
    }
    if !literal.isEmpty, let same = literal[Self.hash(subject)] {
      for one in same where one.subject.elementsEqual(subject) { take(one) }
    }
    for one in wildcards where one.matches(subject) { take(one.subscription) }
    if hasGroups { chooseMembers(&found) }
  }

  private mutating func chooseMembers(_ found: inout [Subscription]) {
    turn += 1
    var chosen: [Subscription] = []
    var groups: [[UInt8]] = []
    for subscription in found {
      guard !subscription.queue.isEmpty else {
        chosen.append(subscription)
        continue
      }
      guard !groups.contains(subscription.queue) else { continue }
      groups.append(subscription.queue)
      let members = found.filter { $0.queue == subscription.queue }
      chosen.append(members[turn % members.count])
    }
    found = chosen
  }

  func hasInterest(_ subject: UnsafeRawBufferPointer) -> Bool {
    if let same = literal[Self.hash(subject)],
      same.contains(where: { $0.subject.elementsEqual(subject) })
    {
      return true
    }
    return wildcards.contains { $0.matches(subject) }
  }
}
