package import BSON
package import JetStream
import Mapping

/// A sink that writes into a lane's output, wrapped in the protocol of its stream.
package protocol LaneWriting: MessageSink, ~Copyable {
  /// Of the admitted message.
  var publisher: PublishLane { get }
}

/// Room for output that a lane keeps.
private let keptOutput = 8 << 20

extension LaneWriting where Self: ~Copyable {
  package var output: ByteWriter {
    _read { yield publisher.output }
    _modify { yield &publisher.output }
  }

  package mutating func begin(_ message: PlannedMessage) { publisher.beginMessage() }
  package mutating func beginHeaders() { publisher.beginHeaders() }
  package mutating func beginBody() { publisher.beginBody() }
  package var size: Int { publisher.ownSize }
  package var body: UnsafeRawBufferPointer { publisher.body }

  package mutating func cancel() { cancelInLane() }

  mutating func cancelInLane() {
    publisher.cancelMessage()
    // The room for an oversized message isn't kept.
    publisher.output.shrink(to: keptOutput)
  }
}
