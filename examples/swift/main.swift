// Examples produce SERVERS SCHEMA PREFIX < DOCUMENTS
// Examples consume SERVERS STREAM DURABLE BUCKET EFFECTS

import Foundation

var arguments = CommandLine.arguments.dropFirst()
let verb = arguments.popFirst()
switch (verb, arguments.count) {
case ("produce", 3): try await produce(Array(arguments))
case ("consume", 5): try await consume(Array(arguments))
default:
  FileHandle.standardError.write(
    Data(
      """
      usage: Examples produce SERVERS SCHEMA PREFIX < DOCUMENTS
             Examples consume SERVERS STREAM DURABLE BUCKET EFFECTS

      """.utf8))
  exit(64)
}
