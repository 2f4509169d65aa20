import BSON
import JSON

/// Judges values by a compiled schema. It holds memory that is used again for each value, so that a
/// valid value allocates nothing: one for each thread.
public final class SchemaValidator {
  public let schema: CompiledSchema
  /// Safety invariant: owned by this object and used only within its methods.
  private let state: UnsafeMutablePointer<RunState>

  public init(_ schema: CompiledSchema) {
    self.schema = schema
    state = .allocate(capacity: 1)
    state.initialize(to: RunState(schema.program, style: schema.options.style))
  }

  deinit {
    state.deinitialize(count: 1)
    state.deallocate()
  }

  /// Why the last value was invalid, if it wasn't for the schema: corrupt bytes or a bound that was
  /// exceeded.
  public var fault: SchemaFault? { state.pointee.fault }

  /// Whether a document, as it will be written in JSON, is valid. Bytes that aren't BSON are not,
  /// where the schema looks at them.
  public func validate(_ document: BSONView) -> Bool {
    judge(.document, document.bytes, size: document.bytes.count)
  }

  /// Whether an element's value is valid.
  public func validate(value element: BSONElement) -> Bool {
    judge(element.type, element.value, size: element.value.count)
  }

  /// Whether the object of these members is valid, without putting its bytes together first.
  public func validate(members: UnsafeBufferPointer<BSONElement>) -> Bool {
    var size = 0
    for member in members { size &+= member.value.count }
    state.pointee.members = members
    defer { state.pointee.members = UnsafeBufferPointer(start: nil, count: 0) }
    return judge(.document, Runner(state: state).membersValue, size: size)
  }

  // MARK: Explaining

  /// What is wrong with a document, in full; or what a schema says about a valid one. Slow: for
  /// those that `validate` refused.
  public func explain(_ document: BSONView) -> SchemaReport {
    explain(value: Self.element(document))
  }

  /// The same for an element's value.
  public func explain(value element: BSONElement) -> SchemaReport {
    report { () throws(SchemaFault) in
      try InstanceValue.value(element, schema.options.style)
    }
  }

  /// The same for the object of these members.
  public func explain(members: UnsafeBufferPointer<BSONElement>) -> SchemaReport {
    report { () throws(SchemaFault) in
      try InstanceValue.value(members, schema.options.style)
    }
  }

  private func report(_ value: () throws(SchemaFault) -> JSONValue) -> SchemaReport {
    do throws(SchemaFault) {
      return Explainer.report(schema.model, try value())
    } catch {
      return Explainer.report(schema.model, error)
    }
  }

  private static func element(_ document: BSONView) -> BSONElement {
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    return BSONElement(type: .document, key: nothing, value: document.bytes)
  }

  private func judge(_ type: BSONType, _ value: UnsafeRawBufferPointer, size: Int) -> Bool {
    state.pointee.fault = nil
    state.pointee.depth = 0
    state.pointee.scopeCount = 0
    state.pointee.bitCount = 0
    state.pointee.types = state.pointee.styleTypes
    // Enough for all but schemas and values made to take long.
    state.pointee.stepsLeft = 1_000_000 &+ 16 &* size
    let isValid = Runner(state: state).check(schema.program.root, type, value, -1)
    return isValid && state.pointee.fault == nil
  }
}
