import Bytes

/// One client's connection, as the server has it.
final class Connection {
  let number: Int
  let node: Int
  /// The beginning of an operation that has not come completely.
  var input: [UInt8] = []
  var output = ByteWriter(capacity: 1024)
  var subscriptions: [Subscription] = []
  /// By the server; what is in `output` still goes out.
  var isClosed = false
  /// Of what it publishes.
  var origin = 0
  /// The client sent its first PING after CONNECT.
  var isConfirmed = false
  var isConnected = false
  // What the client said in CONNECT.
  var isVerbose = false
  var isPedantic = false
  var hearsItself = true
  var hasHeaders = false
  var wantsNoResponders = false
  var takesInfo = false

  init(_ number: Int, node: Int) {
    self.number = number
    self.node = node
  }

  func subscription(_ sid: UnsafeRawBufferPointer) -> Subscription? {
    subscriptions.first { $0.sid.elementsEqual(sid) }
  }
}

final class Subscription {
  unowned let connection: Connection
  let subject: [UInt8]
  let queue: [UInt8]
  let sid: [UInt8]
  /// 0: no limit.
  var most = 0
  var delivered = 0

  init(_ connection: Connection, _ subject: [UInt8], queue: [UInt8], sid: [UInt8]) {
    self.connection = connection
    self.subject = subject
    self.queue = queue
    self.sid = sid
  }
}
