extension BSONElements {
  /// `next` for a loop in another module that must be fast: inlined there, it spares handing the
  /// element over in memory.
  @inlinable @inline(__always)
  public mutating func advance() throws(BSONError) -> BSONElement? { try step() }
}
