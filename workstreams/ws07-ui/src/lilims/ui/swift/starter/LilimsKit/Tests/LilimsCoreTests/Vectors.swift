import Foundation

@testable import LilimsCore

/// Values that lilims's Python computes, written by tools/record_swift_vectors.py and compared there too.
enum Vectors {
    static func read<Value: Decodable>(_ name: String, as _: Value.Type) throws -> Value {
        let folder = Bundle.module.url(forResource: "Vectors", withExtension: nil)!
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        decoder.nonConformingFloatDecodingStrategy = .convertFromString(
            positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan"
        )
        return try decoder.decode(Value.self, from: Data(contentsOf: folder.appending(path: name + ".json")))
    }
}

/// A text, its ids, and what they decode to.
struct TokenizedText: Decodable {
    var text: String
    var ids: [Int]
    var decoded: String
}

/// Pieces of a prompt and their ids.
struct TokenizedPrompt: Decodable {
    var pieces: [PromptPiece]
    var ids: [Int]
}
