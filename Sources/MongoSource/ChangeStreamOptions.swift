/// Which change stream to read. How to reach the server is said by `MongoSourceOptions`, of which
/// `readConcernMajority` has no meaning here: a change stream shows only what a majority has.
public struct ChangeStreamOptions: Sendable {
  public enum Scope: Sendable, Equatable {
    /// Everything. Needs `changeStream` and `find` on all databases.
    case cluster
    /// The stream of everything, from which the server passes on only these databases. Needs the
    /// same privileges; spares the connection and this program, not the server.
    case databases([String])
    /// One database's own stream, for which privileges on it are enough. A rename into another
    /// database and what happens there isn't seen.
    case database(String)
  }

  public var scope: Scope

  public init(scope: Scope = .cluster) { self.scope = scope }
}
