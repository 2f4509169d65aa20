import BSON
import JSON

/// Validates values by a compiled schema. It reuses its memory from value to value, so that a valid value
/// allocates nothing. Not Sendable: use one per thread.
public final class SchemaValidator {
  public let schema: CompiledSchema
  /// Safety invariant: owned by this object and used only within its methods.
  private let state: UnsafeMutablePointer<RunState>
  private var allowedSteps = SchemaBudget.steps

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
  public private(set) var fault: SchemaFault?

  /// Whether a document, as it will be written in JSON, is valid. Bytes that aren't BSON are
  /// invalid if the schema looks at them.
  public func validate(_ document: BSONView) -> Bool {
    judge(.document, document.bytes)
  }

  /// Whether an element's value is valid.
  public func validate(value element: BSONElement) -> Bool {
    judge(element.type, element.value)
  }

  /// Whether the object with these members is valid, without building it first.
  public func validate(members: UnsafeBufferPointer<BSONElement>) -> Bool {
    state.pointee.members = members
    defer { state.pointee.members = UnsafeBufferPointer(start: nil, count: 0) }
    return judge(.document, Runner(state: state).membersValue)
  }

  /// Steps that the last value took, of the budget that `SchemaBudget` allows.
  public var steps: Int { allowedSteps - state.pointee.stepsLeft }

  // MARK: The first violations

  /// The first few violations in a document, or why it could not be validated; empty for a valid one. Bounded by
  /// `SchemaBudget`, as validation is: for time-critical use.
  public func firstViolations(
    _ document: BSONView, limit: Int = SchemaBudget.violations
  ) -> [SchemaViolation] {
    firstViolations(.document, document.bytes, limit)
  }

  /// The same for an element's value.
  public func firstViolations(
    value element: BSONElement, limit: Int = SchemaBudget.violations
  ) -> [SchemaViolation] {
    firstViolations(element.type, element.value, limit)
  }

  /// The same for the object of these members.
  public func firstViolations(
    members: UnsafeBufferPointer<BSONElement>, limit: Int = SchemaBudget.violations
  ) -> [SchemaViolation] {
    state.pointee.members = members
    defer { state.pointee.members = UnsafeBufferPointer(start: nil, count: 0) }
    return firstViolations(.document, Runner(state: state).membersValue, limit)
  }

  private func firstViolations(
    _ type: BSONType, _ value: UnsafeRawBufferPointer, _ limit: Int
  ) -> [SchemaViolation] {
    if judge(type, value) { return [] }
    if let fault { return Explainer.report(schema.model, fault).violations }
    prepare(steps: SchemaBudget.explanationSteps, remembersBelow: .max)
    var finder = FailureFinder(Runner(state: state), schema.model, limit: limit)
    finder.find(type, value)
    return finder.violations
  }

  // MARK: Explaining

  /// A complete report on a document: its violations, or the annotations of a valid one. Slow: for documents that
  /// `validate` refused.
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

  private func prepare(steps: Int, remembersBelow: Int) {
    state.pointee.fault = nil
    state.pointee.depth = 0
    state.pointee.scopeCount = 0
    state.pointee.bitCount = 0
    state.pointee.types = state.pointee.styleTypes
    state.pointee.writtenDepth = 0
    state.pointee.stepsLeft = steps
    state.pointee.remembersBelow = remembersBelow
    allowedSteps = steps
  }

  private func judge(_ type: BSONType, _ value: UnsafeRawBufferPointer) -> Bool {
    prepare(steps: SchemaBudget.steps, remembersBelow: SchemaBudget.remembersBelow)
    state.pointee.verdicts.clear()
    let isValid = Runner(state: state).check(schema.program.root, type, value, -1)
    fault = state.pointee.fault
    return isValid && fault == nil
  }
}
