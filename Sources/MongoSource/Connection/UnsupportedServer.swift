extension MongoConnection.Server {
  /// Why this server can't be tailed, and what to do; nil for a replica set member, initiated or not.
  var unsupported: String? {
    if hello.isRouter {
      return "\(host) is a router of a sharded cluster (mongos), which has no oplog: set "
        + "source.uri to the members of a shard's replica set, or set source.reader: "
        + "change_stream"
    }
    if hello.setName == nil, !hello.awaitsInitiation {
      return "\(host) is not a member of a replica set, so it has no oplog: start mongod with "
        + "--replSet (a set with one member is enough) and run rs.initiate()"
    }
    return nil
  }
}
