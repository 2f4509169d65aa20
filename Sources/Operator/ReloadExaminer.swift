import Bridge
public import BridgeConfiguration
public import Logging

/// What only the servers know of a configuration that is to be used from now on.
public enum ReloadExaminer {
  /// Why a running bridge must not change to this configuration: a schema that is not what is published as its
  /// version, or can't be compared with it. Nil: it may. Servers are asked only if a rule names a version.
  public static func refusal(
    of configuration: BridgeConfiguration, logger: Logger
  ) async -> ConfigurationProblems? {
    guard configuration.schemas.contains(where: { $0?.version != nil }) else { return nil }
    do throws(BridgeError) {
      return try await configuration.withJetStream(logger) { jetStream throws(BridgeError) in
        let findings: [PublishedContracts.Finding]
        do {
          findings = try await PublishedContracts(configuration, jetStream).findings()
        } catch {
          throw .unavailable("\(error)")
        }
        for warning in findings.compactMap(\.warning) { logger.warning("\(warning)") }
        guard let refusal = findings.compactMap(\.refusal).first else { return nil }
        return problem(refusal.why, "Keep the version that is published.", configuration)
      }
    } catch {
      return problem(
        "the schemas can't be compared with their published versions: \(error)",
        "Send SIGHUP again when NATS can be reached.", configuration)
    }
  }

  private static func problem(
    _ message: String, _ remedy: String, _ configuration: BridgeConfiguration
  ) -> ConfigurationProblems {
    ConfigurationProblems(problems: [
      ConfigurationProblem(
        file: configuration.file, line: 0, column: 0, message: message, remedy: remedy)
    ])
  }
}
