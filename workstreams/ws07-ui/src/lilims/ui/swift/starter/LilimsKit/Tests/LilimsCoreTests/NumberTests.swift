import XCTest

@testable import LilimsCore

/// Rotary tables, half precision, random numbers and the sampler, against numpy and lilims.
final class NumberTests: XCTestCase {
    private struct Rotary: Decodable {
        var parameters: RotaryParameters
        var length: Int
        var positions: [Int]
        var cos: [Float]
        var sin: [Float]
    }

    func testRotaryTables() throws {
        for vector in try Vectors.read("rotary", as: [Rotary].self) {
            let tables = try RotaryTables(vector.parameters, length: vector.length)
            for (row, position) in vector.positions.enumerated() {
                let (cos, sin) = tables.at(position..<position + 1), start = row * tables.width
                for i in 0..<tables.width {
                    let label = "\(vector.parameters.kind), position \(position), dimension \(i)"
                    XCTAssertEqual(cos[i], vector.cos[start + i], accuracy: 2e-7, label)
                    XCTAssertEqual(sin[i], vector.sin[start + i], accuracy: 2e-7, label)
                }
            }
        }
    }

    func testUnknownRulesAreRefused() throws {
        let unknown = try JSONDecoder().decode(RotaryParameters.self, from: Data(#"{"rotaryDim": 8, "kind": "new"}"#.utf8))
        XCTAssertThrowsError(try RotaryTables(unknown, length: 8))
    }

    private struct Halves: Decodable {
        var values: [Float]
        var bits: [UInt16]
    }

    func testHalves() throws {
        let vector = try Vectors.read("halves", as: Halves.self)
        for (value, bits) in zip(vector.values, vector.bits) { XCTAssertEqual(Half.bits(value), bits, "\(value)") }
        for bits in UInt16.min...UInt16.max where bits & 0x7C00 != 0x7C00 || bits & 0x3FF == 0 {
            XCTAssertEqual(Half.bits(Half.value(bits)), bits)
        }
        #if !(os(macOS) && arch(x86_64))
        for bits in UInt16.min...UInt16.max where bits & 0x7C00 != 0x7C00 {
            XCTAssertEqual(Half.value(bits), Float(Float16(bitPattern: bits)))
        }
        #endif
    }

    private struct Drawn: Decodable {
        var seed: String
        var words: [String]
        var uniform: [Double]
    }

    func testRandomNumbersAreNumpys() throws {
        for vector in try Vectors.read("random", as: [Drawn].self) {
            let seed = try XCTUnwrap(UInt64(vector.seed))
            var words = PCG64(seed: seed), uniform = PCG64(seed: seed)
            XCTAssertEqual(vector.words.map { _ in String(words.next()) }, vector.words, vector.seed)
            XCTAssertEqual(vector.uniform.map { _ in uniform.uniform() }, vector.uniform, vector.seed)
        }
    }

    private struct Sample: Decodable {
        var parameters: SamplingParameters
        var vocabulary: Int
        var tokens: [Int]
        var kept: Int
        var first: [Int]
        var shares: [Double]
    }

    func testSamplerChoosesAsLilims() throws {
        let samples = try Vectors.read("samples", as: [Sample].self)
        XCTAssertGreaterThan(samples.count, 25)
        for vector in samples {
            let label = "\(vector.parameters), vocabulary \(vector.vocabulary)"
            var sampler = try Sampler(vector.parameters)
            sampler.observe([1, 2, 3, 3])
            let (ids, shares) = try sampler.distribution(NumberTests.logits(0, vector.vocabulary))
            XCTAssertEqual(ids.count, vector.kept, label)
            XCTAssertEqual(Array(ids.prefix(32)), vector.first, label)
            for (mine, theirs) in zip(shares, vector.shares) { XCTAssertEqual(mine, theirs, accuracy: 1e-5, label) }
            let tokens = try (0..<vector.tokens.count).map { try sampler.choose(NumberTests.logits($0, vector.vocabulary)) }
            XCTAssertEqual(tokens, vector.tokens, label)
        }
    }

    /// Numbers that both sides can make: many of them are equal.
    static func logits(_ step: Int, _ vocabulary: Int) -> [Float] {
        (0..<vocabulary).map { Float(Double(($0 * 7919 + step * 104729) % 10007) / 1000 - 5) }
    }

    func testLogitsThatAreNoNumbersAreRefused() throws {
        var sampler = try Sampler(SamplingParameters())
        XCTAssertThrowsError(try sampler.choose([0, .nan]))
        XCTAssertThrowsError(try sampler.choose([-.infinity, -.infinity]))
        XCTAssertThrowsError(try sampler.choose([0, .infinity]))
    }

    func testParametersOutsideTheirRangeAreRefused() {
        var parameters = SamplingParameters()
        parameters.topP = 0
        XCTAssertThrowsError(try Sampler(parameters))
    }

    func testStrides() {
        XCTAssertEqual(Strided.rows(shape: [1, 2, 3], strides: [128, 64, 1]), [0, 64])
        XCTAssertEqual(Strided.rows(shape: [2, 2, 3], strides: [200, 64, 2]), [0, 64, 200, 264])
        XCTAssertEqual(Strided.rows(shape: [4], strides: [1]), [0])
        XCTAssertEqual(Strided.extent(shape: [2, 2, 3], strides: [200, 64, 2]), 269)
    }
}
