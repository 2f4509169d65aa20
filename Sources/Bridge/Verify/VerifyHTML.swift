import Parity

extension VerifyReport {
  /// A page of its own: no scripts, nothing loaded from elsewhere.
  public var html: String { "<!doctype html>" }
}
