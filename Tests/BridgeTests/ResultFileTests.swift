import Bridge
import Foundation
import Testing

@Suite("Files of results") struct ResultFileTests {
  /// A folder of its own, with a file that is not the command's.
  private func inFolder(_ body: (URL) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "tailrace-results-\(UInt64.random(in: 0 ... .max))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data("theirs".utf8).write(to: folder.appendingPathComponent("theirs"))
    try body(folder)
    let theirs = try String(
      contentsOf: folder.appendingPathComponent("theirs"), encoding: .utf8)
    #expect(theirs == "theirs")
  }

  private func mode(_ file: URL) throws -> Int? {
    let attributes = try FileManager.default.attributesOfItem(atPath: file.path)
    return (attributes[.posixPermissions] as? NSNumber)?.intValue
  }

  @Test func aNewFileIsItsOwnersAlone() throws {
    try inFolder { folder in
      let whole = folder.appendingPathComponent("whole")
      try ResultFile.replace(whole.path, with: "all")
      #expect(try String(contentsOf: whole, encoding: .utf8) == "all")
      #expect(try mode(whole) == 0o600)
      let lines = folder.appendingPathComponent("lines")
      let file = try ResultFile(lines.path)
      try file.append("1\n")
      // It can be read meanwhile.
      #expect(try String(contentsOf: lines, encoding: .utf8) == "1\n")
      #expect(try mode(lines) == 0o600)
      let schema = folder.appendingPathComponent("schema")
      try ResultFile.replace(schema.path, with: "{}", for: .everyone)
      #expect(try mode(schema) != 0o600)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).count == 4)
    }
  }

  @Test func aFileThatIsReplacedKeepsItsPermissions() throws {
    try inFolder { folder in
      let file = folder.appendingPathComponent("report")
      try Data("old".utf8).write(to: file)
      try FileManager.default.setAttributes(
        [.posixPermissions: NSNumber(value: 0o640)], ofItemAtPath: file.path)
      // Who has it open keeps reading what was there.
      let reader = try FileHandle(forReadingFrom: file)
      try ResultFile.replace(file.path, with: "new")
      #expect(try reader.readToEnd() == Data("old".utf8))
      #expect(try String(contentsOf: file, encoding: .utf8) == "new")
      #expect(try mode(file) == 0o640)
    }
  }

  @Test func addsToWhatIsThere() throws {
    try inFolder { folder in
      let path = folder.appendingPathComponent("lines").path
      for line in ["1\n", "2\n"] { try ResultFile(path, appending: true).append(line) }
      #expect(try String(contentsOfFile: path, encoding: .utf8) == "1\n2\n")
    }
  }

  @Test func linksAreNotFollowed() throws {
    try inFolder { folder in
      let theirs = folder.appendingPathComponent("theirs")
      for (name, target) in [("link", theirs.path), ("dangling", folder.path + "/nothing")] {
        let link = folder.appendingPathComponent(name)
        try FileManager.default.createSymbolicLink(
          atPath: link.path, withDestinationPath: target)
        let whole = #expect(throws: ResultFile.Failure.self) {
          try ResultFile.replace(link.path, with: "ours")
        }
        #expect(whole?.description.contains("symbolic link") == true)
        #expect(throws: ResultFile.Failure.self) { _ = try ResultFile(link.path).append("ours") }
        #expect(throws: ResultFile.Failure.self) {
          _ = try ResultFile(link.path, appending: true).append("ours")
        }
      }
      #expect(!FileManager.default.fileExists(atPath: folder.path + "/nothing"))
      // A second name of a file keeps what it has.
      let second = folder.appendingPathComponent("second")
      try FileManager.default.linkItem(at: theirs, to: second)
      try ResultFile.replace(second.path, with: "ours")
      _ = try ResultFile(folder.appendingPathComponent("third").path).append("ours")
    }
  }

  @Test func devicesAndPipesAreWrittenTo() throws {
    try inFolder { folder in
      try ResultFile.replace("/dev/null", with: "gone")
      let pipe = Pipe()
      let path = "/dev/fd/\(pipe.fileHandleForWriting.fileDescriptor)"
      try ResultFile.replace(path, with: "through")
      try pipe.fileHandleForWriting.close()
      #expect(try pipe.fileHandleForReading.readToEnd() == Data("through".utf8))
    }
  }

  @Test func aFailureLeavesNothingBehind() throws {
    try inFolder { folder in
      for path in ["\(folder.path)/missing/report", folder.path] {
        #expect(throws: ResultFile.Failure.self) { try ResultFile.replace(path, with: "x") }
      }
      #expect(throws: ResultFile.Failure.self) { try ResultFile.replace("/dev/full", with: "x") }
      let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
      #expect(left == ["theirs"])
    }
  }
}
