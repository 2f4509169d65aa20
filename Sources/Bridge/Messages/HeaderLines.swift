import NATS

/// Header lines as a `Mapper` writes them (`Name: value`, each with its line end), taken apart.
package enum HeaderLines {
  package static func fields(_ lines: some StringProtocol) -> [(name: String, value: String)] {
    lines.split(separator: "\r\n").compactMap { line in
      guard let colon = line.firstIndex(of: ":") else { return nil }
      return (
        String(line[..<colon]), String(line[line.index(after: colon)...].drop { $0 == " " })
      )
    }
  }
}

extension NATSHeaders {
  package init(_ fields: [(name: String, value: String)]) {
    self.init()
    for (name, value) in fields { append(name, value) }
  }
}
