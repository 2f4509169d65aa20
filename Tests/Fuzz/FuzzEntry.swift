#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// One parser of what comes from outside: takes any bytes, and traps where it has broken a promise. That it does not
/// crash, hang or touch memory that is not its own is what libFuzzer and the address sanitizer see.
typealias FuzzTarget = @Sendable (UnsafeRawBufferPointer) throws -> Void

/// By name; scripts/fuzz_all.py runs each. A target throws what its parser refuses.
let fuzzTargets: [String: FuzzTarget] = [
  "bson": fuzzBSON, "oplog": fuzzOplog, "change_stream": fuzzChangeStream,
  "resume_token": fuzzResumeToken, "mongo_reply": fuzzMongoReply,
  "json": fuzzJSON, "extended_json": fuzzExtendedJSON, "schema": fuzzSchema,
  "nats": fuzzNATS, "headers": fuzzHeaders, "ack": fuzzAck, "stream_info": fuzzStreamInfo,
  "address": fuzzAddress, "credentials": fuzzCredentials,
  "yaml": fuzzYAML, "template": fuzzTemplate, "position": fuzzPosition, "http": fuzzHTTP,
  "checkpoint": fuzzCheckpoint, "lease": fuzzLease, "cutover": fuzzCutover, "letter": fuzzLetter,
]

/// The target of this process, by the variable FUZZ_TARGET.
private let chosen: FuzzTarget = {
  guard let name = getenv("FUZZ_TARGET"), let target = fuzzTargets[String(cString: name)] else {
    let names = fuzzTargets.keys.sorted().joined(separator: " ")
    print("set FUZZ_TARGET to one of: \(names)")
    exit(64)
  }
  return target
}()

/// libFuzzer calls it with one input after the other, each in memory of exactly its size.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  try? chosen(UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : count))
  return 0
}

func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

/// A promise of a parser; the crash is what libFuzzer keeps the input for.
func promise(_ holds: Bool, _ what: @autoclosure () -> String) {
  guard !holds else { return }
  fatalError("broken promise: \(what())")
}
