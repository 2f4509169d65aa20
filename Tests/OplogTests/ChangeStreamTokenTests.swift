import Oplog
import Testing

/// Tokens written by servers.
@Suite struct ChangeStreamTokenTests {
  private func parse(_ text: String) -> ChangeStreamToken? {
    var text = text
    return text.withUTF8 { ChangeStreamToken(UnsafeRawBufferPointer($0)) }
  }

  /// The same for 4.4.2, 5.0.4 and 6.0.27; 6.0.27 writes version 2 for streams that split large events.
  @Test(arguments: [
    (
      "826B064DFD0000000B2B022C0100296E5A1004215755368F1145C29E95876142DCE558461E5F6964002B020004",
      0
    ),
    (
      "826B064DFD0000001B2B022C01002B026E5A1004215755368F1145C29E95876142DCE558461E5F6964002B140004",
      1
    ),
    (
      "826B064DFD0000001B2B022C01002B086E5A1004215755368F1145C29E95876142DCE558461E5F6964002B140004",
      4
    ),
    ("826B065080000000122B042C0100296E5A1004B41187C3F2694309AE4770", 0),
    ("826b064dfd0000001b2b022c01002bfe6e5a1004", 127),
    ("826B064DFD0000001B2B022C01002C01006E5A1004", 128),
    ("826B064DFD0000001B2B022C01002C0FA06E5A1004", 2000),
    ("826B064DFD0000001B2B022C01002D0186A06E5A1004", 50_000),
  ])
  func anEventsTokenTellsItsPlace(_ text: String, _ index: UInt32) throws {
    let token = try #require(parse(text))
    #expect(token.position.seconds == 0x6B06_4DFD || token.position.seconds == 0x6B06_5080)
    #expect(!token.isHighWaterMark)
    #expect(token.operationIndex == index)
  }

  @Test func aMarkIsNoEvents() throws {
    let token = try #require(parse("826B064E8A000000012B0229296E04"))
    #expect(token.position == OplogPosition(seconds: 0x6B06_4E8A, increment: 1))
    #expect(token.isHighWaterMark)
    #expect(token.operationIndex == nil)
  }

  @Test(arguments: [
    // A future version, another kind of token, a fraction, a missing index.
    "826B064E8A000000012B0829296E04", "826B064E8A000000012B022B0429",
    "826B064E8A000000012B022C01002B03", "826B064E8A000000012B022C0100",
    "826B064E8A000000012B022C01002", "826B064E8A00000001", "826B064E8A00000001XY",
  ])
  func whatIsNotUnderstoodLeavesThePosition(_ text: String) throws {
    let token = try #require(parse(text))
    #expect(token.position == OplogPosition(seconds: 0x6B06_4E8A, increment: 1))
    #expect(token.operationIndex == nil)
    #expect(!token.isHighWaterMark)
  }

  @Test(arguments: [
    "", "8", "82", "826B064E8A0000000", "816B064E8A000000012B02", "82ZZ064E8A00000001",
  ])
  func whatHasNoTimeIsNone(_ text: String) {
    #expect(parse(text) == nil)
  }
}
