// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "LilimsKit",
    platforms: [.iOS(.v18), .macOS(.v15)],
    products: [
        .library(name: "LilimsCore", targets: ["LilimsCore"]),
        .library(name: "LilimsKit", targets: ["LilimsKit"]),
    ],
    targets: [
        // Plans, masks, rotary tables, sampling and text: no Core ML, so that it is tested on Linux too.
        .target(name: "LilimsCore"),
        // Core ML behind LilimsCore's `DecoderExecutor`.
        .target(name: "LilimsKit", dependencies: ["LilimsCore"]),
        .testTarget(name: "LilimsCoreTests", dependencies: ["LilimsCore"], resources: [.copy("Vectors")]),
        .testTarget(name: "LilimsKitTests", dependencies: ["LilimsKit"]),
    ],
    swiftLanguageModes: [.v6]
)
