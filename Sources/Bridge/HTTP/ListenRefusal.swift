#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Why an address can't be listened on, with what to do.
struct ListenRefusal: CustomStringConvertible {
  /// What the address is called where it was given, such as `http.listen`.
  var key: String
  var host: String
  var port: Int
  /// The system's error number.
  var code: Int32

  var description: String {
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
