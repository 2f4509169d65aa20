import JSON
import SimulatedJetStream

extension SimulatedNATSServer {
  /// The line that tells a client of the server: when it connects, when it is accepted, and before the end.
  func info(_ connection: Connection, confirms: Bool = false, isLameDuck: Bool = false) -> String {
    let node = nodes[connection.node]
    let address = node.address.split(separator: ":")
    var json: JSONValue = [
      "server_id": .string("N\(node.name.uppercased())"), "server_name": .string(node.name),
      "version": .string("\(jetStream.version)"), "proto": 1,
      "host": .string(String(address.first ?? "")),
      "port": .number(address.count > 1 ? String(address[1]) : "4222"), "headers": true,
      "max_payload": .int(maxPayload), "jetstream": true, "client_id": .int(connection.number),
      "client_ip": "127.0.0.1",
    ]
    if jetStream.isClustered { json["cluster"] = .string(clusterName) }
    var others = announced ?? (nodes.count > 1 ? nodes.map(\.address) : [])
    if isLameDuck { others.removeAll { $0 == node.address } }
    if !others.isEmpty { json["connect_urls"] = .array(others.map { .string($0) }) }
    if confirms {
      json["connect_info"] = true
      json["remote_account"] = "$G"
    }
    if isLameDuck { json["ldm"] = true }
    return "INFO \(json.text()) \r\n"
  }
}
