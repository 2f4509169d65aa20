#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Why an address can't be listened on, with the remedy.
package struct ListenRefusal: CustomStringConvertible {
  /// The configuration key or option of the address, such as `http.listen`.
  package var key: String
  package var host: String
  package var port: Int
  /// The system's error number.
  package var code: Int32

  package init(key: String, host: String, port: Int, code: Int32) {
    self.key = key
    self.host = host
    self.port = port
    self.code = code
  }

  package var description: String {
    let address = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    let what = "\(key): can't listen on \(address): "
    switch code {
    case EADDRINUSE:
      return what
        + "the port is taken; end the program that has it (ss -ltnp shows which), or set \(key) to another"
    case EADDRNOTAVAIL:
      return what + "this machine does not have that address; set \(key) to one it has"
    case EACCES:
      return what + "that port needs privileges; set \(key) to one from 1024 on"
    default: return what + String(cString: strerror(code))
    }
  }
}
