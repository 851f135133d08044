import XCTest

@testable import LilimsCore

/// What comes from files: embeddings beside a package, and manifests that are not to be trusted.
final class ModelFolderTests: XCTestCase {
    private struct Embedding: Decodable {
        var table: Manifest.HostEmbedding
        var data: Data
        var ids: [Int32]
        var rows: [Float]
    }

    private func place() throws -> URL {
        let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        addTeardownBlock { try? FileManager.default.removeItem(at: folder) }
        return folder
    }

    func testRowsOfEmbeddings() throws {
        let vectors = try Vectors.read("embeddings", as: [Embedding].self)
        XCTAssertEqual(vectors.count, 9)
        for vector in vectors {
            let folder = try place()
            try vector.data.write(to: folder.appending(path: vector.table.file))
            let rows = try HostEmbedding(vector.table, in: folder).rows(vector.ids)
            XCTAssertEqual(rows, vector.rows, "\(vector.table)")
            XCTAssertThrowsError(try HostEmbedding(vector.table, in: folder).rows([5]))
            try vector.data.dropLast().write(to: folder.appending(path: vector.table.file))
            XCTAssertThrowsError(try HostEmbedding(vector.table, in: folder))
        }
    }

    func testEmbeddingsThatAreNotToBeTrusted() throws {
        let folder = try place()
        try Data(repeating: 0, count: 64).write(to: folder.appending(path: "e.bin"))
        for (rows, columns, group) in [(4, 8, 0), (4, 8, -8), (4, 1 << 62, 1), (1 << 62, 8, 8), (4, -8, 8), (16, 7, 7)] {
            let table = Manifest.HostEmbedding(file: "e.bin", rows: rows, columns: columns, codes: "int4", groupSize: group, offset: false)
            XCTAssertThrowsError(try HostEmbedding(table, in: folder), "\(table)") { XCTAssertTrue($0 is Failure) }
        }
    }

    /// A manifest as JSON, changed at one place.
    private func manifest(_ change: (inout [String: Any]) -> Void) throws -> Data {
        var value: [String: Any] = [
            "schema_version": 1, "contract": "lilims.decoder/1", "name": "tiny", "version": "1.0.0",
            "architecture": ["layers": 2, "hidden_size": 8, "vocab_size": 100],
            "positions": ["kind": "rotary", "rotary": ["rotary_dim": 8, "theta": 10000.0, "kind": "default"]],
            "tokens": ["bos": 0, "eos": [0], "padding": 0], "context": 40, "mask_value": -10000.0,
            "state": ["name": "kv_cache", "shape": [4, 1, 64, 32]],
            "compute_units": "CPU_ONLY", "package": "model.mlpackage", "parts": [Any](),
            "files": ["model.mlpackage/weight_file.bin": ["bytes": 3, "sha256": String(repeating: "0", count: 64)]],
        ]
        value["functions"] = [
            "decode": function(1), "prefill_32": function(8, rows: 32), "prefill": function(8),
        ]
        change(&value)
        return try JSONSerialization.data(withJSONObject: value)
    }

    private func function(_ tokens: Int, rows: Int = 64) -> [String: Any] {
        ["tokens": tokens, "rows": rows, "logits": "last"]
    }

    func testAManifestIsRead() throws {
        let found = try Manifest.read(manifest { _ in })
        XCTAssertEqual(found.functions["prefill_32"]?.rows, 32)
        XCTAssertNotNil(found.files["model.mlpackage/weight_file.bin"])
        XCTAssertEqual(found.packages.map(\.package), ["model.mlpackage"])
        XCTAssertEqual(try DecoderShape(found).reads, ["prefill_32": 32])
    }

    func testFunctionsOfOtherNamesAreNotPlanned() throws {
        let found = try Manifest.read(
            manifest { $0["functions"] = ["decode": self.function(1), "": self.function(1), "_": self.function(1), "decode_x": self.function(1)] }
        )
        XCTAssertEqual(try DecoderShape(found).functions, ["decode": 1])
    }

    private func refused(_ name: String, _ change: (inout [String: Any]) -> Void) throws {
        let data = try manifest(change)
        XCTAssertThrowsError(try Manifest.read(data), name) { XCTAssertTrue($0 is Failure, name) }
    }

    func testManifestsThatAreNotToBeTrusted() throws {
        let file: [String: Any] = ["bytes": 1, "sha256": ""]
        try refused("contract") { $0["contract"] = "lilims.decoder/2" }
        try refused("outside") { $0["package"] = "../model.mlpackage" }
        try refused("root") { $0["files"] = ["/etc/passwd": file] }
        try refused("backslash") { $0["files"] = ["a\\b": file] }
        try refused("state") { $0["state"] = ["name": "kv_cache", "shape": [4, 1, 1 << 40, 32]] }
        try refused("layers") { $0["state"] = ["name": "kv_cache", "shape": [6, 1, 64, 32]] }
        try refused("negative") { $0["context"] = -1 }
        try refused("no decode") { $0["functions"] = ["prefill": self.function(8)] }
        try refused("chunk") { $0["functions"] = ["decode": self.function(1), "prefill": self.function(1 << 30)] }
        try refused("window") { $0["window"] = Int.min }
        try refused("local window") { $0["local_window"] = 0 }
        try refused("a file's size") { $0["files"] = ["a": ["bytes": Int.max, "sha256": ""]] }
        try refused("layers without end") {
            let functions = ["decode", "prefill", "prefill_32"], package = "a.mlpackage"
            $0["parts"] = [(0, Int.max), (Int.max, 1)].map {
                ["package": package, "first_layer": $0.0, "layers": $0.1, "functions": functions] as [String: Any]
            }
        }
        try refused("padding") { $0["tokens"] = ["eos": [Int](), "padding": 100] }
        try refused("a layer is missing") {
            $0["parts"] = [["package": "a.mlpackage", "first_layer": 0, "layers": 1, "functions": ["decode", "prefill"]]]
        }
        try refused("a number") { $0["name"] = 7 }
        XCTAssertThrowsError(try Manifest.read(Data("[]".utf8)))
        XCTAssertThrowsError(try Manifest.read(Data()))
    }

    func testAFolderWithoutItsFilesIsRefused() throws {
        let folder = try place()
        XCTAssertThrowsError(try ModelFolder(folder)) { XCTAssertTrue($0.localizedDescription.contains("manifest.json")) }
        try manifest { _ in }.write(to: folder.appending(path: "manifest.json"))
        XCTAssertThrowsError(try ModelFolder(folder)) { XCTAssertTrue($0.localizedDescription.contains("starter.json")) }
    }
}
