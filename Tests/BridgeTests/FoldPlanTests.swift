import BridgeConfiguration
import Testing
import Verification

/// Which collections can be made again from their messages.
@Suite("Fold plan")
struct FoldPlanTests {
  private func answer(_ payload: String) throws -> FoldPlan.Answer {
    let configuration = try BridgeConfiguration.parse(
      yaml: """
        source: { uri: "mongodb://h/?replicaSet=rs0", name: rs0 }
        streams: [{ name: S, subjects: [x.>] }]
        rules:
          - { name: all, match: { namespace: "d.*" }, subject: x.y, payload: { \(payload) } }
        """, file: "t.yaml", environment: [:])
    return FoldPlan(configuration).answer("d.c")
  }

  @Test(
    "updates that show something else than documents do",
    arguments: [
      ("exclude: [updateDescription]", "updateDescription"),
      ("exclude: [updateDescription], full_document: required", "updateDescription"),
      ("exclude: [updateDescription.updatedFields]", "updateDescription.updatedFields"),
      ("exclude: [updateDescription.removedFields]", "updateDescription.removedFields"),
      ("exclude: [updateDescription.truncatedArrays]", "updateDescription.truncatedArrays"),
      ("exclude: [updateDescription.updatedFields.a]", "updateDescription.updatedFields.a"),
      (
        "exclude: [fullDocument.a.b, updateDescription.updatedFields.a]",
        "updateDescription.updatedFields.a"
      ),
      ("include: [fullDocument.a, updateDescription]", "updateDescription"),
      (
        "include: [fullDocument.a, updateDescription.updatedFields.b]",
        "updateDescription.updatedFields.b"
      ),
    ]) func otherUpdates(_ payload: String, _ path: String) throws
  {
    #expect(
      try answer(payload)
        == .not("rule all shows of updates something else than of documents (\(path))"))
  }

  @Test(
    "updates that show what documents do",
    arguments: [
      "", "exclude: [updateDescription.disambiguatedPaths]", "exclude: [fullDocument.a]",
      "exclude: [fullDocument.a, updateDescription.updatedFields.a.b]",
      "exclude: [fullDocument, updateDescription]", "include: [fullDocument, updateDescription]",
      "include: [fullDocument.a, updateDescription.updatedFields.a]",
      "include: [fullDocument.a, updateDescription.removedFields]",
      "include: [updateDescription.updatedFields.a]",
    ]) func sameUpdates(_ payload: String) throws
  {
    #expect(try answer(payload) == .foldable(stream: 0))
  }
}
