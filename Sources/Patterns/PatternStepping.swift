/// A table followed byte by byte by others than the matcher: to find out what patterns have in common.
extension PatternTable {
  /// A state is final if it is this or less: nothing can be found any more, or it is found already.
  package static let lastFinalState: UInt16 = 1

  package var startState: UInt16 { view.start }

  /// Where a byte leads from a state.
  package func next(_ state: UInt16, _ byte: UInt8) -> UInt16 {
    state <= Self.lastFinalState
      ? state : view.rows[Int(state) &<< view.shift | Int(view.classes[Int(byte)])]
  }

  /// Whether the pattern is found in a text that ends in a state.
  package func isFound(_ state: UInt16) -> Bool {
    state <= Self.lastFinalState ? state == Self.found : view.acceptsAtEnd[Int(state)]
  }

  /// Bytes of the same class lead to the same states.
  package func byteClass(_ byte: UInt8) -> UInt8 { view.classes[Int(byte)] }
}
