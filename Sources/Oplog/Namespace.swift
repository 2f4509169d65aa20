import BSON

/// A namespace `db.collection` (or only `db`), and whether it belongs to users or to the server. Borrows
/// `bytes`: they have the lifetime of a `ChangeEvent`'s views.
struct Namespace {
  enum Scope {
    case user
    /// `<db>.system.views`: its documents define views.
    case views
    /// `<db>.system.buckets.*`: the compressed data of time-series collections.
    case timeSeries
    /// The databases `admin`, `config` and `local`, and other `system.*` collections.
    case server
  }

  var bytes: UnsafeRawBufferPointer
  var databaseLength: Int
  var scope: Scope

  /// The first dot ends the database name; a collection name may contain dots.
  init(_ bytes: UnsafeRawBufferPointer) throws(OplogError) {
    var dot = 0
    while dot < bytes.count, bytes.readByte(at: dot) != UInt8(ascii: ".") { dot &+= 1 }
    guard dot > 0, dot &+ 1 < bytes.count else {
      throw OplogError(.badNamespace(String(decoding: bytes, as: UTF8.self)))
    }
    self.bytes = bytes
    databaseLength = dot
    let collection = UnsafeRawBufferPointer(rebasing: bytes[(dot &+ 1)...])
    if Self.isServerDatabase(UnsafeRawBufferPointer(rebasing: bytes[..<dot])) {
      scope = .server
    } else if !collection.hasPrefix("system.") {
      scope = .user
    } else if collection.equals("system.views") {
      scope = .views
    } else if collection.hasPrefix("system.buckets.") {
      scope = .timeSeries
    } else {
      scope = .server
    }
  }

  /// A whole database.
  init(database: UnsafeRawBufferPointer) {
    bytes = database
    databaseLength = database.count
    scope = Self.isServerDatabase(database) ? .server : .user
  }

  static func isServerDatabase(_ name: UnsafeRawBufferPointer) -> Bool {
    switch name.count {
    case 5: name.equals("admin") || name.equals("local")
    case 6: name.equals("config")
    default: false
    }
  }
}

extension UnsafeRawBufferPointer {
  func hasPrefix(_ prefix: StaticString) -> Bool {
    let length = prefix.utf8CodeUnitCount
    return count >= length && UnsafeRawBufferPointer(rebasing: self[..<length]).equals(prefix)
  }
}
