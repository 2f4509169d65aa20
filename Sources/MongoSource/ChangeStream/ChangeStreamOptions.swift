/// Which change stream to read. `MongoSourceOptions` has the connection; its `readConcernMajority`
/// is ignored, since change streams show majority-committed changes only.
public struct ChangeStreamOptions: Sendable {
  public enum Scope: Sendable, Equatable {
    /// Everything. Needs `changeStream` and `find` on all databases.
    case cluster
    /// The cluster's stream, filtered to these databases by the server. Needs the same privileges;
    /// saves network traffic and decoding, but no work on the server.
    case databases([String])
    /// One database's stream; privileges on that database are enough. Doesn't show a rename into
    /// another database or the changes after it.
    case database(String)
  }

  public var scope: Scope

  public init(scope: Scope = .cluster) { self.scope = scope }
}
