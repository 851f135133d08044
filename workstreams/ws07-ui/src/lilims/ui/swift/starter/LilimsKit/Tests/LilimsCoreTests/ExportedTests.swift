import XCTest

@testable import LilimsCore

/// What lies outside the package: a folder that was exported, and values of other tokenizers. Each is named by a variable
/// of the environment, and skipped without.
final class ExportedTests: XCTestCase {
    private struct Nothing: DecoderExecutor {
        func predict(_ function: String, inputs: [String: Tensor], count: Int) async throws -> [Float] {
            Array(repeating: 0, count: count)
        }
    }

    private func path(_ variable: String) throws -> URL {
        guard let value = ProcessInfo.processInfo.environment[variable] else { throw XCTSkip("\(variable) is not set") }
        return URL(fileURLWithPath: value)
    }

    /// Reads a model's folder, compares its files' sizes, and its tokenizer with what the export recorded.
    func testAnExportedModelOpens() async throws {
        let folder = try ModelFolder(path("LILIMS_EXPORTED"))
        try folder.verify()
        let model = try LanguageModel(folder, executor: Nothing())
        try await model.warmUp()
        let stream = try model.complete("Once", sampling: .init(), maxTokens: 3)
        var count = 0
        for try await _ in stream { count += 1 }
        XCTAssertGreaterThan(count, 0)
    }

    private struct Other: Decodable {
        var name: String
        var file: TokenizerFile
        var texts: [TokenizedText]
        var prompts: [TokenizedPrompt]
    }

    func testOtherTokenizers() throws {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let others = try decoder.decode([Other].self, from: Data(contentsOf: path("LILIMS_TOKENIZERS")))
        XCTAssertFalse(others.isEmpty)
        for other in others {
            let tokenizer = try Tokenizer(other.file)
            for text in other.texts {
                XCTAssertEqual(tokenizer.encode(text.text), text.ids, "\(other.name): \(text.text.debugDescription)")
                let decoded = Array(tokenizer.decode(text.ids).unicodeScalars)
                XCTAssertEqual(decoded, Array(text.decoded.unicodeScalars), "\(other.name): \(text.text.debugDescription)")
            }
            for prompt in other.prompts { XCTAssertEqual(tokenizer.encode(prompt.pieces), prompt.ids, "\(other.name): \(prompt.pieces)") }
        }
    }
}
