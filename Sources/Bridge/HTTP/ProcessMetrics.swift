import Foundation
import Glibc

/// The `process_…` metrics that Prometheus' own clients have, read from the kernel on request.
struct ProcessMetrics: Sendable {
  var cpuSeconds: Double
  var startTime: Double?
  var residentBytes: UInt64?
  var virtualBytes: UInt64?
  var openFiles: Int?
  var maximumFiles: Int

  init() {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
    cpuSeconds = seconds(usage.ru_utime) + seconds(usage.ru_stime)
    let pages = Self.numbers("/proc/self/statm")
    if pages.count > 1 {
      let size = UInt64(clamping: sysconf(Int32(_SC_PAGESIZE)))
      virtualBytes = pages[0].multipliedReportingOverflow(by: size).partialValue
      residentBytes = pages[1].multipliedReportingOverflow(by: size).partialValue
    }
    startTime = Self.startTime
    // Less the descriptor by which they are listed.
    openFiles = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")).map {
      max(0, $0.count - 1)
    }
    maximumFiles = OpenConnections.descriptors
  }

  /// Seconds since 1970, from the boot's time and the ticks since then; it never changes.
  private static let startTime: Double? = {
    guard let stat = try? String(contentsOfFile: "/proc/self/stat", encoding: .utf8),
      let name = stat.lastIndex(of: ")"),
      let boot = try? String(contentsOfFile: "/proc/stat", encoding: .utf8).split(separator: "\n")
        .first(where: { $0.hasPrefix("btime ") })?.split(separator: " ").last.flatMap({ Double($0) }
        )
    else { return nil }
    // The 22nd field; behind the name, which may contain anything, comes the third.
    let fields = stat[stat.index(after: name)...].split(separator: " ")
    guard fields.count > 19, let ticks = Double(fields[19]) else { return nil }
    return boot + ticks / Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
  }()

  private static func numbers(_ file: String) -> [UInt64] {
    (try? String(contentsOfFile: file, encoding: .utf8))?.split(separator: " ")
      .compactMap { UInt64($0) } ?? []
  }

  func append(to page: inout PrometheusText) {
    page.family("process_cpu_seconds_total", "counter", "Processor time used, user and system.")
    page.sample("process_cpu_seconds_total", [:], cpuSeconds)
    func gauge(_ name: String, _ help: String, _ value: Double?) {
      if let value { page.gauge(name, help, value) }
    }
    gauge("process_start_time_seconds", "When the process began, since 1970.", startTime)
    gauge("process_resident_memory_bytes", "Memory in use.", residentBytes.map { Double($0) })
    gauge("process_virtual_memory_bytes", "Memory mapped.", virtualBytes.map { Double($0) })
    gauge("process_open_fds", "Open file descriptors.", openFiles.map { Double($0) })
    page.gauge("process_max_fds", "How many may be open.", Double(maximumFiles))
  }
}
