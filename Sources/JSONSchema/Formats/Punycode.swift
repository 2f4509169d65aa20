/// Punycode (RFC 3492), with the parameters of internationalized names.
enum Punycode {
  private static let base = 36
  private static let tMin = 1
  private static let tMax = 26
  private static let skew = 38
  private static let damp = 700
  private static let initialBias = 72
  private static let initialN = 128

  /// The number of characters decoded, or nil if this can't be decoded or doesn't fit.
  static func decode(
    _ text: UnsafeRawBufferPointer, into points: UnsafeMutableBufferPointer<UInt32>
  ) -> Int? {
    var count = 0
    var at = 0
    if let hyphen = text.lastIndex(of: UInt8(ascii: "-")) {
      for byte in text[..<hyphen] {
        guard count < points.count, byte < 0x80 else { return nil }
        points[count] = UInt32(lowered(byte))
        count += 1
      }
      // A leading hyphen alone delimits nothing.
      at = hyphen + 1
    }
    guard at < text.count else { return nil }
    var n = initialN
    var i = 0
    var bias = initialBias
    while at < text.count {
      let before = i
      var weight = 1
      var k = base
      while true {
        guard at < text.count, let digit = digit(text[at]) else { return nil }
        at += 1
        // Far below overflow: labels are short, but weights are bounded all the same.
        guard weight < 1 << 40 else { return nil }
        i += digit * weight
        let t = k <= bias ? tMin : k >= bias + tMax ? tMax : k - bias
        if digit < t { break }
        weight *= base - t
        k += base
      }
      guard count < points.count else { return nil }
      bias = adapt(i - before, count + 1, isFirst: before == 0)
      n += i / (count + 1)
      i %= count + 1
      guard n <= 0x10FFFF, Unicode.Scalar(UInt32(n)) != nil else { return nil }
      var index = count
      while index > i {
        points[index] = points[index - 1]
        index -= 1
      }
      points[i] = UInt32(n)
      count += 1
      i += 1
    }
    return count
  }

  /// Whether encoding gives exactly `text`, letters in either case.
  static func encodes(
    _ points: UnsafeBufferPointer<UInt32>, as text: UnsafeRawBufferPointer
  ) -> Bool {
    var at = 0
    var isSame = true
    encode(points) { byte in
      if at < text.count, lowered(text[at]) == byte { at += 1 } else { isSame = false }
    }
    return isSame && at == text.count
  }

  static func encodedLength(_ points: UnsafeBufferPointer<UInt32>) -> Int {
    var length = 0
    encode(points) { _ in length += 1 }
    return length
  }

  private static func encode(_ points: UnsafeBufferPointer<UInt32>, _ put: (UInt8) -> Void) {
    var basic = 0
    for point in points where point < 0x80 {
      put(UInt8(point))
      basic += 1
    }
    if basic > 0 { put(UInt8(ascii: "-")) }
    var done = basic
    var n = initialN
    var delta = 0
    var bias = initialBias
    while done < points.count {
      var next = Int.max
      for point in points where Int(point) >= n { next = min(next, Int(point)) }
      delta += (next - n) * (done + 1)
      n = next
      for point in points {
        if Int(point) < n { delta += 1 }
        guard Int(point) == n else { continue }
        var rest = delta
        var k = base
        while true {
          let t = k <= bias ? tMin : k >= bias + tMax ? tMax : k - bias
          if rest < t { break }
          put(character(t + (rest - t) % (base - t)))
          rest = (rest - t) / (base - t)
          k += base
        }
        put(character(rest))
        bias = adapt(delta, done + 1, isFirst: done == basic)
        delta = 0
        done += 1
      }
      delta += 1
      n += 1
    }
  }

  private static func adapt(_ delta: Int, _ count: Int, isFirst: Bool) -> Int {
    var delta = isFirst ? delta / damp : delta / 2
    delta += delta / count
    var k = 0
    while delta > (base - tMin) * tMax / 2 {
      delta /= base - tMin
      k += base
    }
    return k + (base - tMin + 1) * delta / (delta + skew)
  }

  private static func digit(_ byte: UInt8) -> Int? {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"): Int(byte - UInt8(ascii: "a"))
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): Int(byte - UInt8(ascii: "A"))
    case UInt8(ascii: "0")...UInt8(ascii: "9"): Int(byte - UInt8(ascii: "0")) + 26
    default: nil
    }
  }

  private static func character(_ digit: Int) -> UInt8 {
    digit < 26 ? UInt8(ascii: "a") + UInt8(digit) : UInt8(ascii: "0") + UInt8(digit - 26)
  }

  private static func lowered(_ byte: UInt8) -> UInt8 {
    byte &- UInt8(ascii: "A") < 26 ? byte | 0x20 : byte
  }
}
