/// Whether values at a place look like secrets, by the names that lead to it. What does is never quoted.
struct Secrecy {
  private(set) var ofTexts = false
  private(set) var ofNumbers = false

  /// Of a member's value.
  func below(_ name: String) -> Secrecy {
    var inner = self
    inner.ofTexts = ofTexts || SecretLikeness.reason(name: name) != nil
    inner.ofNumbers = ofNumbers || SecretLikeness.reason(name: name, .number) != nil
    return inner
  }
}
