public import Oplog

/// Which operations a rule takes.
public struct OperationSet: OptionSet, Sendable, Hashable {
  public let rawValue: UInt16

  public init(rawValue: UInt16) { self.rawValue = rawValue }

  public init(_ operation: OperationType) { self.rawValue = 1 << UInt16(operation.rawValue) }

  /// Changes of documents: insert, update, replace, delete.
  public static let documents: OperationSet = [
    OperationSet(.insert), OperationSet(.update), OperationSet(.replace), OperationSet(.delete),
  ]

  /// Operations with an earlier document: update, replace, delete.
  public static let changes = documents.subtracting(OperationSet(.insert))

  public func contains(_ operation: OperationType) -> Bool {
    rawValue & (1 << UInt16(operation.rawValue)) != 0
  }

  public var operations: [OperationType] { OperationType.allCases.filter { contains($0) } }
}

extension OperationType {
  /// The name in configurations: `drop_database` for `dropDatabase` in change streams.
  public var configurationName: String {
    "\(name)".reduce(into: "") { text, c in
      text += c.isUppercase ? "_\(c.lowercased())" : String(c)
    }
  }

  public init?(configurationName: String) {
    guard let found = Self.allCases.first(where: { $0.configurationName == configurationName })
    else { return nil }
    self = found
  }
}
