import Foundation

/// The part of `manifest.json` (contract `lilims.decoder/1`) that running a model needs.
///
/// Knows names and sizes. Must not know how a call is planned or executed. What it reads is hostile until
/// `checked()` has returned: sizes are bounded, and no file name leaves the model's folder.
public struct Manifest: Codable, Sendable, Equatable {
    public struct Architecture: Codable, Sendable, Equatable {
        public var layers: Int
        public var hiddenSize: Int
        public var vocabSize: Int
    }

    public struct Positions: Codable, Sendable, Equatable {
        public var kind: String
        public var rotary: RotaryParameters?
        public var localRotary: RotaryParameters?
        public var learned: Int?
    }

    public struct Tokens: Codable, Sendable, Equatable {
        public var bos: Int?
        public var eos: [Int]
        public var padding: Int
    }

    public struct State: Codable, Sendable, Equatable {
        public var name: String
        public var shape: [Int]
    }

    public struct Function: Codable, Sendable, Equatable {
        public var tokens: Int
        public var rows: Int
        public var logits: String
    }

    public struct Part: Codable, Sendable, Equatable {
        public var package: String
        public var firstLayer: Int
        public var layers: Int
        public var functions: [String]
    }

    public struct HostEmbedding: Codable, Sendable, Equatable {
        public var file: String
        public var rows: Int
        public var columns: Int
        public var codes: String
        public var groupSize: Int?
        public var offset: Bool
    }

    public struct File: Codable, Sendable, Equatable {
        public var bytes: Int
        public var sha256: String
    }

    public var schemaVersion: Int
    public var contract: String
    public var name: String
    public var version: String
    public var licence: String?
    public var architecture: Architecture
    public var positions: Positions
    public var tokens: Tokens
    public var context: Int
    public var maskValue: Double
    public var window: Int?
    public var localWindow: Int?
    public var state: State
    public var functions: [String: Function]
    public var computeUnits: String
    public var package: String
    public var parts: [Part]
    public var embedding: HostEmbedding?
    public var files: [String: File]
    public var digest: String?

    /// Every package of the model; a model that is not split is one part with all layers and functions.
    public var packages: [Part] {
        guard parts.isEmpty else { return parts }
        let all = functions.keys.sorted()
        return [Part(package: package, firstLayer: 0, layers: architecture.layers, functions: all)]
    }

    /// Reads a manifest and checks what a call would rely on.
    public static func read(_ data: Data, in place: String = "manifest.json") throws -> Manifest {
        guard data.count <= 16 << 20 else { throw Failure("larger than 16 MiB", in: place) }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let manifest: Manifest
        do {
            // `files` and `functions` are keyed by names, which must stay as they are: read a second time.
            var value = try decoder.decode(Manifest.self, from: data)
            let named = try JSONDecoder().decode(Named.self, from: data)
            value.files = named.files
            value.functions = named.functions
            manifest = value
        } catch {
            throw Failure("not a manifest that this app reads: \(error)", in: place, next: "export the model again")
        }
        try manifest.check(in: place)
        return manifest
    }

    /// The dictionaries whose keys are names.
    private struct Named: Codable {
        var files: [String: File]
        var functions: [String: Function]
    }

    private func check(in place: String) throws {
        func require(_ holds: Bool, _ what: String) throws {
            if !holds { throw Failure(what, in: place, next: "export the model again") }
        }
        try require(schemaVersion == 1 && contract == "lilims.decoder/1", "contract \(contract), schema \(schemaVersion)")
        try require(state.name == "kv_cache" && state.shape.count == 4, "the state is not the contract's")
        let bounds = [architecture.layers, architecture.hiddenSize, architecture.vocabSize, context] + state.shape
        try require(bounds.allSatisfy { (1...(1 << 28)).contains($0) }, "a size is not one that a model has")
        try require(state.shape[0] == 2 * architecture.layers, "the state has not two entries a layer")
        try require(functions["decode"]?.tokens == 1, "there is no function decode of one token")
        for (name, function) in functions {
            let fits = (1...state.shape[2]).contains(function.tokens) && (1...state.shape[2]).contains(function.rows)
            try require(fits && function.tokens * function.rows <= 1 << 28, "function \(name) has impossible sizes")
        }
        try require((0..<architecture.vocabSize).contains(tokens.padding), "the padding is no token")
        let reaches = [window, localWindow, positions.learned].compactMap { $0 }
        try require(reaches.allSatisfy { (1...(1 << 28)).contains($0) }, "a window or a table of positions is not one that a model has")
        try require(files.values.allSatisfy { (0...(1 << 40)).contains($0.bytes) }, "a file's size is none")
        for path in Array(files.keys) + packages.map(\.package) + (embedding.map { [$0.file] } ?? []) {
            try require(Manifest.isInside(path), "\(path.debugDescription) is not a path inside the model's folder")
        }
        for name in functions.keys where name == "decode" || name.hasPrefix("prefill") {
            var next = 0
            for part in packages where part.functions.contains(name) {
                let fits = part.firstLayer == next && (1...architecture.layers).contains(part.layers)
                try require(fits, "\(part.package) begins with another layer than \(next), or holds none")
                next += part.layers
            }
            try require(next == architecture.layers, "the packages hold \(next) of \(architecture.layers) layers")
        }
    }

    /// Whether a name of a file stays below the folder that it is looked for in.
    public static func isInside(_ path: String) -> Bool {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false)
        let plain = parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
        return plain && path.utf8.count <= 255 && !path.unicodeScalars.contains { $0.value < 32 || "\\:".unicodeScalars.contains($0) }
    }
}
