// swift-tools-version: 6.0
import PackageDescription

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// Hashes and signatures, by the libcrypto that libmongoc needs anyway: no second library, and no minutes
/// of compiling one.
let cryptography: [Target] = [
  .systemLibrary(
    name: "CLibCrypto", pkgConfig: "libcrypto",
    providers: [.apt(["libssl-dev"]), .brew(["openssl"])]),
  .target(name: "Cryptography", dependencies: ["CLibCrypto"], swiftSettings: strict),
]

/// Pure modules: no I/O, no NIO, no libmongoc. They build and test in seconds.
let pure: [Target] = [
  .target(name: "Bytes", swiftSettings: strict),
  .target(name: "DeliberateErrors", swiftSettings: strict),
  // Repeatable random numbers: of the self-test, and of all tests.
  .target(name: "SeededNumbers", swiftSettings: strict),
  .target(name: "JSON", dependencies: ["Bytes"], swiftSettings: strict),
  .target(name: "BSON", dependencies: ["Bytes", "JSON"], swiftSettings: strict),
  .target(name: "Patterns", swiftSettings: strict),
  .target(name: "Oplog", dependencies: ["BSON"], swiftSettings: strict),
  .target(
    name: "Mapping",
    dependencies: [
      "BSON", "Cryptography", "Oplog", "Patterns",
    ],
    swiftSettings: strict),
  .target(name: "JSONSchema", dependencies: ["BSON", "JSON", "Patterns"], swiftSettings: strict),
  .target(
    name: "SchemaDiff", dependencies: ["JSON", "JSONSchema", "Patterns"], swiftSettings: strict),
  .target(
    name: "SchemaCatalog", dependencies: ["Cryptography", "JSON", "JSONSchema", "SchemaDiff"],
    swiftSettings: strict),
  .target(
    name: "SchemaInference", dependencies: ["Bytes", "JSON", "JSONSchema"], swiftSettings: strict),
  .target(name: "Parity", dependencies: ["JSON", "Oplog"], swiftSettings: strict),
  .target(name: "SimulatedJetStream", dependencies: ["Bytes", "JSON"], swiftSettings: strict),
  .target(name: "SimulatedMongo", dependencies: ["BSON", "Oplog"], swiftSettings: strict),
  .target(
    name: "SimulatedNATS", dependencies: ["Bytes", "JSON", "SimulatedJetStream"],
    swiftSettings: strict),
]

/// A first demo, whose servers are its own, does without TLS towards NATS, and so without compiling BoringSSL, which takes
/// more than half as long as all the rest of such a build. Only scripts/building.py asks for that.
let hasTLS = Context.environment["TAILRACE_WITHOUT_TLS"] != "1"
let tls: [Target.Dependency] =
  hasTLS ? [.product(name: "NIOSSL", package: "swift-nio-ssl")] : []
let tlsPackages: [Package.Dependency] =
  hasTLS ? [.package(url: "https://github.com/apple/swift-nio-ssl", from: "2.30.0")] : []

/// The two ends: MongoDB through libmongoc, NATS on SwiftNIO. They don't know each other.
let ends: [Target] = [
  .systemLibrary(
    name: "CLibMongoC", pkgConfig: "libmongoc-1.0",
    providers: [.apt(["libmongoc-dev", "libbson-dev"])]),
  .target(name: "CMongoC", dependencies: ["CLibMongoC"]),
  .target(
    name: "MongoSource",
    dependencies: ["BSON", "Oplog", "CMongoC", .product(name: "Logging", package: "swift-log")],
    swiftSettings: strict),
  .target(
    name: "NATS",
    dependencies: [
      "Cryptography", "JSON",
      .product(name: "NIOCore", package: "swift-nio"),
      .product(name: "NIOPosix", package: "swift-nio"),
      .product(name: "Logging", package: "swift-log"),
    ] + tls, exclude: [hasTLS ? "WithoutTLS.swift" : "TLSMaterial.swift"], swiftSettings: strict),
  .target(
    name: "JetStream",
    dependencies: [
      "Bytes", "DeliberateErrors", "JSON", "NATS", .product(name: "NIOCore", package: "swift-nio"),
    ], swiftSettings: strict),
]

/// An import shows in a module's own interface only where it says so.
let closed = strict + [.enableUpcomingFeature("InternalImportsByDefault")]

let service: [Target] = [
  .target(
    name: "BridgeConfiguration",
    dependencies: [
      "BSON", "JSON", "JSONSchema", "Mapping", "Oplog",
      .product(name: "Yams", package: "Yams"),
      .product(name: "Logging", package: "swift-log"),
    ],
    swiftSettings: strict),
  .target(
    name: "Bridge",
    dependencies: [
      "BSON", "Cryptography", "JSON", "JSONSchema", "Oplog", "Mapping", "MongoSource", "NATS",
      "JetStream", "BridgeConfiguration", "DeliberateErrors", "Parity", "SchemaCatalog",
      .product(name: "Logging", package: "swift-log"),
      .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      .product(name: "NIOCore", package: "swift-nio"),
      .product(name: "NIOHTTP1", package: "swift-nio"),
      .product(name: "NIOPosix", package: "swift-nio"),
    ], swiftSettings: closed),
  // What looks at a bridge from outside. These see what the bridge shows, never the pipeline.
  .target(
    name: "DeadLetters",
    dependencies: [
      "BSON", "Bridge", "BridgeConfiguration", "JSON", "JetStream", "Mapping", "MongoSource",
      "NATS",
      "Oplog", .product(name: "Logging", package: "swift-log"),
      .product(name: "NIOPosix", package: "swift-nio"),
    ], swiftSettings: closed),
  .target(
    name: "Operator",
    dependencies: [
      "BSON", "Bridge", "BridgeConfiguration", "DeadLetters", "DeliberateErrors", "JSON",
      "JetStream", "Mapping", "MongoSource", "JSONSchema", "NATS", "Oplog", "SchemaCatalog",
      "SchemaInference",
      .product(name: "Logging", package: "swift-log"),
      .product(name: "NIOCore", package: "swift-nio"),
      .product(name: "NIOPosix", package: "swift-nio"),
    ], swiftSettings: closed),
  .target(
    name: "Verification",
    dependencies: [
      "BSON", "Bridge", "BridgeConfiguration", "DeadLetters", "JSON", "JetStream", "Mapping",
      "MongoSource", "NATS", "Oplog", "Parity", "SeededNumbers",
      .product(name: "Logging", package: "swift-log"),
      .product(name: "NIOCore", package: "swift-nio"),
      .product(name: "NIOHTTP1", package: "swift-nio"),
      .product(name: "NIOPosix", package: "swift-nio"),
      .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
    ], swiftSettings: closed),
  .executableTarget(
    name: "tailrace",
    dependencies: [
      "BSON", "Bridge", "BridgeConfiguration", "DeadLetters", "JSON", "JSONSchema", "Mapping",
      "MongoSource", "Operator", "Oplog", "Parity", "SchemaCatalog", "SchemaDiff",
      "SchemaInference", "Verification",
      .product(name: "ArgumentParser", package: "swift-argument-parser"),
      .product(name: "Logging", package: "swift-log"),
      .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      .product(name: "UnixSignals", package: "swift-service-lifecycle"),
    ], swiftSettings: strict),
]

/// A world in virtual time that drives the bridge's own code. For tests only; in no product.
let simulation: [Target] = [
  .target(name: "CSimulation"),
  .target(
    name: "Simulation",
    dependencies: [
      "BSON", "Bridge", "BridgeConfiguration", "Bytes", "CSimulation", "DeliberateErrors",
      "JSON", "JetStream", "Mapping", "MongoSource", "NATS", "Operator",
      "Oplog", "Parity", "SeededNumbers", "SimulatedJetStream", "SimulatedMongo",
      "SimulatedNATS", "Verification",
      .product(name: "Logging", package: "swift-log"),
      .product(name: "NIOCore", package: "swift-nio"),
    ], swiftSettings: strict),
  .executableTarget(name: "simulate", dependencies: ["Simulation"], swiftSettings: strict),
]

/// Programs of the documentation, in one executable: linking costs more than compiling them. In no product.
let examples: [Target] = [
  .executableTarget(
    name: "Examples",
    dependencies: [
      "JSON", "JSONSchema", "JetStream", "NATS", .product(name: "Logging", package: "swift-log"),
      .product(name: "NIOCore", package: "swift-nio"),
    ], path: "examples/swift", swiftSettings: strict)
]

/// Swift's tests use public and package API only, so they run in release mode like everything else.
///
/// Those that mostly wait, or leave the work to what they test, compile in half the time without optimization.
let quick = strict + [.unsafeFlags(["-Onone"], .when(configuration: .release))]

let tests: [Target] = [
  .target(
    name: "TestRandom", dependencies: ["SeededNumbers"], path: "Tests/TestRandom",
    swiftSettings: strict),
  // Code on documentation pages.
  .target(name: "TestPages", path: "Tests/TestPages", swiftSettings: strict),
  // Real nats-servers for tests, from scripts/fetch.py.
  .target(
    name: "TestServers",
    dependencies: ["NATS", .product(name: "Logging", package: "swift-log")],
    path: "Tests/TestServers", swiftSettings: quick),
  .testTarget(
    name: "CryptographyTests", dependencies: ["Cryptography"], swiftSettings: quick),
  .testTarget(name: "JSONTests", dependencies: ["JSON"], swiftSettings: strict),
  .testTarget(
    name: "BSONTests", dependencies: ["BSON", "CLibMongoC", "TestRandom"], swiftSettings: strict),
  .testTarget(
    name: "OplogTests", dependencies: ["BSON", "Oplog", "CLibMongoC", "TestRandom"],
    resources: [.copy("Fixtures")], swiftSettings: strict),
  .testTarget(
    name: "MappingTests",
    dependencies: ["BSON", "JSON", "Oplog", "Mapping", "Parity", "TestRandom"],
    swiftSettings: quick),
  .testTarget(
    name: "JSONSchemaTests",
    dependencies: ["BSON", "JSON", "JSONSchema", "Patterns", "TestPages", "TestRandom"],
    swiftSettings: strict),
  .testTarget(
    name: "SchemaDiffTests",
    dependencies: ["BSON", "JSON", "JSONSchema", "SchemaDiff", "SchemaInference", "TestRandom"],
    resources: [.copy("Fixtures")], swiftSettings: strict),
  .testTarget(
    name: "SchemaCatalogTests",
    dependencies: ["JSON", "JSONSchema", "SchemaCatalog", "SchemaDiff"],
    swiftSettings: quick),
  .testTarget(
    name: "SchemaInferenceTests",
    dependencies: ["JSON", "JSONSchema", "SchemaInference", "TestRandom"],
    swiftSettings: strict),
  .testTarget(
    name: "ParityTests", dependencies: ["JSON", "Oplog", "Parity", "TestRandom"],
    swiftSettings: strict),
  .testTarget(
    name: "BridgeConfigurationTests",
    dependencies: ["BridgeConfiguration", "BSON", "JSON", "JSONSchema", "Mapping", "Oplog"],
    swiftSettings: quick),
  .testTarget(
    name: "NATSTests",
    dependencies: [
      "Cryptography", "NATS", "TestRandom", "TestServers",
      .product(name: "NIOCore", package: "swift-nio"),
      .product(name: "NIOPosix", package: "swift-nio"),
      .product(name: "Logging", package: "swift-log"),
    ],
    exclude: ["peer.py"], swiftSettings: quick),
  .testTarget(
    name: "JetStreamTests",
    dependencies: [
      "BSON", "JSON", "JetStream", "NATS", "TestPages", "TestRandom", "TestServers",
      .product(name: "NIOCore", package: "swift-nio"),
    ],
    swiftSettings: quick),
  .testTarget(
    name: "SimulatedJetStreamTests",
    dependencies: [
      "Bytes", "JSON", "JetStream", "NATS", "SimulatedJetStream", "TestRandom", "TestServers",
      .product(name: "NIOCore", package: "swift-nio"),
    ], swiftSettings: strict),
  .testTarget(
    name: "SimulationTests", dependencies: ["DeliberateErrors", "simulate"], swiftSettings: quick),
  .testTarget(
    name: "SimulatedMongoTests",
    dependencies: ["BSON", "Oplog", "SimulatedMongo", "TestRandom"], swiftSettings: strict),
  .testTarget(
    name: "SimulatedNATSTests",
    dependencies: [
      "Bytes", "JSON", "JetStream", "NATS", "SimulatedJetStream", "SimulatedNATS", "TestRandom",
      "TestServers",
      .product(name: "NIOCore", package: "swift-nio"),
      .product(name: "NIOPosix", package: "swift-nio"),
    ], swiftSettings: strict),
  .testTarget(
    name: "MongoSourceTests",
    dependencies: [
      "BSON", "CMongoC", "MongoSource", "Oplog", "TestRandom",
      .product(name: "Logging", package: "swift-log"),
    ], swiftSettings: quick),
  .testTarget(
    name: "BridgeTests",
    dependencies: [
      "BSON", "Bridge", "BridgeConfiguration", "DeadLetters", "JSON", "JetStream", "Mapping",
      "MongoSource", "Operator", "Oplog", "Parity", "TestRandom", "Verification",
      .product(name: "NIOCore", package: "swift-nio"),
      .product(name: "NIOEmbedded", package: "swift-nio"),
      .product(name: "NIOHTTP1", package: "swift-nio"),
    ], swiftSettings: quick),
  // Decisions of the bridge in all situations of little worlds, which take minutes without optimization.
  .testTarget(
    name: "ResumeTests",
    dependencies: [
      "Bridge", "BridgeConfiguration", "JSON", "JetStream", "MongoSource", "Oplog", "TestRandom",
    ],
    swiftSettings: strict),
]

/// libFuzzer's targets: only for scripts/fuzz_all.py, which links them with libFuzzer and the address sanitizer.
let isFuzzed = Context.environment["TAILRACE_FUZZ"] != nil
let fuzzed: [Product] =
  isFuzzed ? [.library(name: "FuzzTargets", type: .static, targets: ["FuzzTargets"])] : []
let fuzzing: [Target] =
  isFuzzed
  ? [
    .target(
      name: "FuzzTargets",
      dependencies: [
        "BSON", "Bridge", "BridgeConfiguration", "JSON", "JSONSchema", "JetStream", "Mapping",
        "MongoSource", "NATS", "Oplog",
      ], path: "Tests/Fuzz", swiftSettings: strict)
  ] : []

let package = Package(
  name: "tailrace",
  products: [
    .executable(name: "tailrace", targets: ["tailrace"]),
    .library(name: "NATS", targets: ["NATS", "JetStream"]),
    .library(name: "JSONSchema", targets: ["JSONSchema"]),
  ] + fuzzed,
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.6.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
  ] + tlsPackages,
  targets: cryptography + pure + ends + service + simulation + examples + tests + fuzzing
)
