/// Why `run` ends without having been asked to, with the process's exit code (see docs/commands.md).
public enum BridgeError: Error, Sendable, CustomStringConvertible {
  /// The oplog (or what determines the position in it) is gone: 75.
  case positionLost(String)
  /// An oplog entry can't be understood, or a rule says halt: 70.
  case halted(String)
  /// Only with `--no-wait`: a server can't be reached: 69.
  case unavailable(String)
  /// Another instance of this bridge writes the checkpoint: 1.
  case displaced(String)
  /// The servers' state contradicts the configuration: 78.
  case configuration(String)

  public var exitCode: Int32 {
    switch self {
    case .positionLost: 75
    case .halted: 70
    case .unavailable: 69
    case .displaced: 1
    case .configuration: 78
    }
  }

  public var description: String {
    switch self {
    case .positionLost(let why): "position lost: \(why)"
    case .halted(let why): "halted: \(why)"
    case .unavailable(let why): "unavailable: \(why)"
    case .displaced(let why): "displaced: \(why)"
    case .configuration(let why): "configuration: \(why)"
    }
  }
}
