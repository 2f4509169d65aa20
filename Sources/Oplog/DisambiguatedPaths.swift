import BSON

/// Builds `disambiguatedPaths`: the ambiguous paths of an update description with their components.
///
/// As in change streams of 6.1 and later, a path is ambiguous if a field name in it contains a dot, or
/// is a number that could be an array index (so not the first component). An array index alone doesn't
/// make it ambiguous. Components are int32 for an index and strings for a field name.
struct DisambiguatedPaths: ~Copyable {
  private struct Component {
    /// Offset in the path.
    var start: Int
    var isIndex: Bool
    /// The path up to and including this component is ambiguous.
    var isAmbiguous: Bool
  }

  private var components: [Component] = []
  /// The elements of the document, in the order of the paths.
  private var entries = ByteWriter(capacity: 512)

  init() {}

  var bytes: UnsafeRawBufferPointer { entries.bytes }

  mutating func start(keeping keptSize: Int) {
    components.removeAll(keepingCapacity: true)
    if entries.count > keptSize { entries = ByteWriter(capacity: 512) }
    entries.removeAll()
  }

  mutating func enter(_ field: UnsafeRawBufferPointer, at start: Int, isIndex: Bool) {
    let isAmbiguous =
      if let last = components.last, last.isAmbiguous { true } else {
        !isIndex && (field.hasDot || (!components.isEmpty && field.isNumber))
      }
    components.append(Component(start: start, isIndex: isIndex, isAmbiguous: isAmbiguous))
  }

  mutating func leave() { components.removeLast() }

  /// Adds the path of the entered components if it is ambiguous.
  mutating func add(_ path: UnsafeRawBufferPointer) {
    guard let last = components.last, last.isAmbiguous else { return }
    let list = entries.beginArray(key: path)
    for (at, component) in components.enumerated() {
      let end = at + 1 < components.count ? components[at + 1].start - 1 : path.count
      let text = UnsafeRawBufferPointer(rebasing: path[component.start..<end])
      if component.isIndex, let index = text.index {
        entries.appendHeader(.int32, index: at)
        entries.append(littleEndian: index)
      } else {
        entries.append(index: at, string: text)
      }
    }
    entries.endDocument(list)
  }
}

extension UnsafeRawBufferPointer {
  fileprivate var hasDot: Bool { contains(UInt8(ascii: ".")) }

  /// Decimal digits without a leading zero: "01" can't be an index.
  fileprivate var isNumber: Bool {
    guard count > 0, count == 1 || readByte(at: 0) != UInt8(ascii: "0") else { return false }
    return allSatisfy { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
  }

  /// The value of these decimal digits, if it fits.
  fileprivate var index: Int32? {
    var value: Int32 = 0
    for digit in self {
      let (tens, isTooLarge) = value.multipliedReportingOverflow(by: 10)
      let (sum, overflows) = tens.addingReportingOverflow(Int32(digit) - 48)
      if isTooLarge || overflows { return nil }
      value = sum
    }
    return value
  }
}
