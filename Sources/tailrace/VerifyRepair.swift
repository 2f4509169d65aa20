import ArgumentParser
import Bridge
import BridgeConfiguration
import Foundation
import JSON
import Logging
import Parity
import Verification

extension VerifyCommand {
  struct RepairCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "repair",
      abstract: "Publishes what is missing, under the same ids, after showing it.",
      discussion: """
        Shows what it would publish; with --publish it does. Refuses where messages would come to stand \
        behind those of later changes, unless --out-of-order says that consumers can bear that. Deletes \
        nothing. With --publish it takes the bridge's lease, so that no instance publishes meanwhile: while one \
        leads, it waits for its end. Exit code 0 if nothing is missing any more, 1 if something is, 2 if that \
        can't be told.
        """)

    @OptionGroup var file: ConfigurationOption
    @OptionGroup var range: RangeOptions
    @Flag(help: "Publish what is shown.") var publish = false
    @Flag(name: .customLong("out-of-order"), help: "Also where order is broken thereby.")
    var outOfOrder = false
    @Flag(help: "Machine-readable output, one object a line.") var json = false

    func run() async throws {
      let environment = ProcessInfo.processInfo.environment
      let configuration = try loadConfiguration(file.path(environment), environment)
      var logger = makeLogger(configuration.log)
      logger.logLevel = max(logger.logLevel, .warning)
      let repair = Repair(configuration, options: try range.options(), logger: logger)
      guard publish else { return try await perform(repair, nil) }
      do {
        try await OperatorLease.hold(
          of: configuration, logger,
          onWaiting: { leader in
            printNote(
              """
              instance \(leader) of this bridge leads, and nothing may be published beside it: waiting until it stops. \
              Stop all instances, and start them again when this command has ended
              """)
          }, { lease in try await perform(repair, lease) })
      } catch let error as BridgeError {
        printError(error.description)
        throw ExitCode(error.exitCode)
      }
    }

    private func perform(_ repair: Repair, _ lease: OperatorLease?) async throws {
      let plan = try await orExit { () throws(BridgeError) in try await repair.plan() }
      guard plan.report.verdict != .inconclusive else {
        for reason in plan.report.reasons { printError(reason) }
        throw ExitCode(2)
      }
      for message in plan.missing { show(message, "missing", nil) }
      if plan.missing.isEmpty {
        printNote("nothing is missing")
        return
      }
      guard let lease else {
        printNote("\(plan.missing.count) messages are missing; --publish publishes them")
        throw ExitCode(1)
      }
      guard plan.outOfOrder == 0 || outOfOrder else {
        printError(
          """
          \(plan.outOfOrder) of \(plan.missing.count) messages would stand behind those of later \
          changes: nothing was published. Where consumers can bear that: --out-of-order
          """)
        throw ExitCode(1)
      }
      let published = try await orExit { () throws(BridgeError) in
        try await publish(plan, repair, lease)
      }
      printNote("\(published) of \(plan.missing.count) published")
      if published < plan.missing.count { throw ExitCode(1) }
    }

    private func publish(
      _ plan: Repair.Plan, _ repair: Repair, _ lease: OperatorLease
    ) async throws(BridgeError) -> Int {
      var published = 0
      try await repair.publish(plan.missing, under: lease) { message, outcome in
        switch outcome {
        case .published(let sequence):
          published += 1
          show(message, "published", "sequence \(sequence)")
        case .refusedAsDuplicate:
          show(message, "refused", "the server's dedup window still holds its id: try again later")
        case .failed(let why): show(message, "failed", why)
        }
      }
      return published
    }

    private func orExit<T>(
      _ body: () async throws(BridgeError) -> T
    ) async throws -> T {
      do throws(BridgeError) {
        return try await body()
      } catch {
        printError(error.description)
        throw ExitCode(error.exitCode)
      }
    }

    private func show(_ message: MissingMessage, _ what: String, _ detail: String?) {
      let mismatch = message.mismatch
      if json {
        var value: JSONValue = ["what": .string(what)]
        for member in mismatch.json.objectValue ?? [] { value[member.key] = member.value }
        if let detail { value["detail"] = .string(detail) }
        print(value.text())
      } else {
        let position = mismatch.position.map { "\($0)" } ?? "-"
        print(
          "\(what)  \(position)  \(mismatch.id)  \(mismatch.subject)  \(mismatch.stream)"
            + (detail.map { ": \($0)" } ?? ""))
      }
    }
  }
}
