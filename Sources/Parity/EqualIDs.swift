public import JSON

/// Whether a server may let one `_id` be replaced by the other, going by their simplified JSON.
///
/// Servers do that with numbers that are equal, at any depth. Simplified JSON shows a decimal as a string,
/// so 1 and "1.0" may be one `_id`; 1 and "one" are two.
public func mayBeSameID(_ old: JSONValue, _ new: JSONValue) -> Bool {
  switch (old, new) {
  case (.array(let old), .array(let new)):
    return old.count == new.count && zip(old, new).allSatisfy { mayBeSameID($0, $1) }
  case (.object(let old), .object(let new)):
    return old.count == new.count
      && zip(old, new).allSatisfy {
        $0.key.isSame(as: $1.key) && mayBeSameID($0.value, $1.value)
      }
  default:
    if old.utf8 == new.utf8 { return true }
    guard let old = number(old), let new = number(new) else { return false }
    return old.text == new.text
  }
}

private func number(_ value: JSONValue) -> EqualNumber? {
  switch value {
  case .number(let digits): return EqualNumber(json: digits)
  case .string(let text):
    let digits = text.utf8.drop { $0 == UInt8(ascii: "-") }
    guard let first = digits.first, (0x30...0x39).contains(first) else { return nil }
    return EqualNumber(decimal: text)
  default: return nil
  }
}
