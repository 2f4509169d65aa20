import BridgeConfiguration

/// Parses, expecting success.
func configuration(
  _ yaml: String, environment: [String: String] = [:], file: String = "t.yaml"
) throws -> BridgeConfiguration {
  try BridgeConfiguration.parse(yaml: yaml, file: file, environment: environment)
}

/// The problems of a configuration, `line:column: message` each; empty where there are none.
func problems(
  _ yaml: String, environment: [String: String] = [:], file: String = "t.yaml"
) -> [String] {
  problemList(yaml, environment: environment, file: file)
    .map { "\($0.line):\($0.column): \($0.message)" }
}

func problemList(
  _ yaml: String, environment: [String: String] = [:], file: String = "t.yaml"
) -> [ConfigurationProblem] {
  do throws(ConfigurationProblems) {
    _ = try BridgeConfiguration.parse(yaml: yaml, file: file, environment: environment)
    return []
  } catch {
    return error.problems
  }
}

/// Eleven lines that are right, for tests to add to: what they append starts at line 12.
let base = """
  streams:
    - name: CHANGES
      subjects: ["changes.>"]
  rules:
    - name: changes
      match:
        namespace: shop.*
        operations: [insert, update]
      subject: changes.{ns.coll}.{documentKey._id}
      id: "{documentKey._id}.x"
      stream: CHANGES

  """
