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
