import Simulation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// Dictionaries are to have the same order in every run, which the runtime decides when it starts.
let name = "SWIFT_DETERMINISTIC_HASHING"
if getenv(name) == nil {
  setenv(name, "1", 1)
  execv("/proc/self/exe", CommandLine.unsafeArgv)
}

exit(Command(CommandLine.arguments.dropFirst()).run())
