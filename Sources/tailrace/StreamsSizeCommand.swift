import ArgumentParser
import BridgeConfiguration
import JSON
import Operator

extension StreamsCommand {
  struct Size: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "What a load takes: storage, memory, network, streams.",
      discussion: """
        Arithmetic only: asks no server, and takes no configuration. The figures behind it, and what they were \
        measured by, are in docs/scale.md.
        """)
    @Option(help: "Messages a second, on average.") var events: Double
    @Option(help: "Bytes of a message's body, such as 400 or 2KiB.") var bytes: String
    @Option(help: "How long messages are kept, such as 7d.") var retention: String
    @Option(help: "Messages a second at the busiest moment; three times the average if left out.")
    var peak: Double?
    @Option(help: "Replicas of each message: 1, 3 or 5.") var replicas = 3
    @Option(help: "Bytes of a message's headers.") var headers = String(StreamSizing.usualHeaders)
    @Option(help: "Bytes of a subject.") var subject = "40"
    @Option(help: "Bytes of an id (Nats-Msg-Id).") var id = "30"
    @Option(help: "The streams' duplicate_window.") var duplicateWindow = "2m"
    @Option(help: "Distinct subjects that are stored.") var subjects = 100_000
    @Option(help: "Consumers that are delivered everything.") var consumers = 4
    @Option(help: "Messages a second that one stream takes on your servers (make bench).")
    var streamRate: Double = 20_000
    @Flag(help: "The streams have storage: memory.") var memory = false
    @Flag(help: "Machine-readable output.") var json = false

    func run() throws {
      let size = try sizing()
      if json {
        print(size.json.text(pretty: true))
      } else {
        for line in size.lines { print(line) }
      }
    }

    private func sizing() throws -> StreamSizing {
      var size = StreamSizing(
        rate: try within("--events", events, 0.001...1e9),
        peak: try within("--peak", peak ?? min(3 * events, 1e9), events...1e9),
        body: try length("--bytes", bytes, upTo: 64 << 20),
        headers: try length("--headers", headers, upTo: 64 << 10),
        subject: try length("--subject", subject, upTo: 4 << 10),
        id: try length("--id", id, upTo: 64 << 10),
        retention: try seconds("--retention", retention),
        replicas: Int(try within("--replicas", Double(replicas), 1...5)),
        duplicateWindow: try seconds("--duplicate-window", duplicateWindow),
        subjects: Int(try within("--subjects", Double(subjects), 0...1e12)),
        consumers: Int(try within("--consumers", Double(consumers), 0...100_000)),
        streamRate: try within("--stream-rate", streamRate, 1...1e9))
      size.isInMemory = memory
      return size
    }

    private func within(
      _ option: String, _ value: Double, _ range: ClosedRange<Double>
    ) throws -> Double {
      guard range.contains(value) else {
        throw ValidationError(
          "\(option) is \(value): give a number from \(range.lowerBound) to \(range.upperBound)")
      }
      return value
    }

    private func length(_ option: String, _ text: String, upTo most: Int) throws -> Int {
      guard let bytes = Units.bytes(text), (0...Int64(most)).contains(bytes) else {
        throw ValidationError("\(option) is '\(text)': \(Units.sizeRemedy), up to \(most) bytes")
      }
      return Int(bytes)
    }

    private func seconds(_ option: String, _ text: String) throws -> Double {
      guard let duration = Units.duration(text) else {
        throw ValidationError("\(option) is '\(text)': \(Units.durationRemedy)")
      }
      return Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
    }
  }
}
