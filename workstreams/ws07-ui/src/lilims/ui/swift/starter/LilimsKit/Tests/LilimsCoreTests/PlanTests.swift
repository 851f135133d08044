import XCTest

@testable import LilimsCore

struct CallVector: Decodable {
    struct Place: Decodable {
        var slot, count, size, position: Int
    }

    var function: String
    var chunk: Place
    var integers: [String: [Int32]]
    var masks: [String: [String]]
    var sums: [String: Double]
    var logits: Data?
}

/// Calls, masks and other inputs of texts that grow, against lilims.context.
final class PlanTests: XCTestCase {
    private struct Plan: Decodable {
        var shape: String
        var context: Int
        var rows: Int
        var functions: [String: Int]
        var reads: [String: Int]?
        var window: Int?
        var localWindow: Int?
        var maxPositions: Int?
        var padding: Int?
        var policy: String
        var appends: [Int]
        var calls: [CallVector]
    }

    func testCallsAndInputs() throws {
        // Function names are keys: the conversion of snake case must leave them alone.
        let folder = Bundle.module.url(forResource: "Vectors", withExtension: nil)!
        let raw = try Data(contentsOf: folder.appending(path: "plans.json"))
        let plans = try Vectors.read("plans", as: [Plan].self), names = try JSONDecoder().decode([Names].self, from: raw)
        XCTAssertGreaterThan(plans.count, 30)
        for (plan, names) in zip(plans, names) { try check(plan, names) }
    }

    private struct Names: Decodable {
        struct Call: Decodable {
            var integers: [String: [Int32]]
            var masks: [String: [String]]
        }

        var functions: [String: Int]
        var reads: [String: Int]?
        var calls: [Call]
    }

    private func check(_ plan: Plan, _ names: Names) throws {
        let manifest = Manifest.made(
            context: plan.context, rows: plan.rows, functions: names.functions, reads: names.reads ?? [:],
            window: plan.window, localWindow: plan.localWindow, learned: plan.maxPositions, padding: plan.padding ?? 0
        )
        let shape = try DecoderShape(manifest), policy = ContextPolicy(rawValue: plan.policy)!
        let inputs = try StepInputs(shape, positions: manifest.positions)
        var held = StateRows(count: plan.rows), position = 0, expected = zip(plan.calls, names.calls).makeIterator()
        let label = "\(plan.shape), \(plan.policy), \(plan.appends)"
        for count in plan.appends {
            let ids = (0..<count).map { (7 * (position + $0)) % 101 }
            for call in try shape.plan(count, position: position, policy: policy) {
                guard let (wanted, named) = expected.next() else { return XCTFail("\(label): more calls") }
                let part = ids[call.chunk.position - position..<call.chunk.end - position]
                let built = inputs.build(call, ids: part, held: held)
                XCTAssertEqual(call.function, wanted.function, label)
                let place = Chunk(
                    slot: wanted.chunk.slot, count: wanted.chunk.count, size: wanted.chunk.size,
                    position: wanted.chunk.position
                )
                XCTAssertEqual(call.chunk, place, label)
                compare(built, named.integers, named.masks, wanted.sums, label)
                held.begin(call.chunk)
                held.finish(call.chunk)
            }
            position += count
        }
        XCTAssertNil(expected.next(), "\(label): fewer calls")
    }

    func testWhatDoesNotFitIsRefusedWhole() throws {
        let shape = try DecoderShape(.made(context: 40, rows: 64, functions: ["decode": 1, "prefill": 8]))
        XCTAssertThrowsError(try shape.plan(2, position: 39)) { error in
            XCTAssertTrue("\(error)".contains("do not fit into 40"), "\(error)")
        }
        XCTAssertNoThrow(try shape.plan(2, position: 39, policy: .rolling))
    }
}

/// Compares inputs with what Python built.
func compare(
    _ built: [String: Tensor], _ integers: [String: [Int32]], _ masks: [String: [String]], _ sums: [String: Double],
    _ label: String
) {
    XCTAssertEqual(Set(built.keys), Set(integers.keys).union(masks.keys).union(sums.keys), label)
    for (name, values) in integers { XCTAssertEqual(built[name]?.values, .integers(values), "\(label): \(name)") }
    for (name, lines) in masks {
        guard case .floats(let values)? = built[name]?.values else { return XCTFail("\(label): \(name)") }
        let rows = values.count / lines.count
        for (query, line) in lines.enumerated() {
            XCTAssertEqual(ranges(values[query * rows..<(query + 1) * rows]), line, "\(label): \(name), query \(query)")
        }
    }
    for (name, sum) in sums {
        guard case .floats(let values)? = built[name]?.values else { return XCTFail("\(label): \(name)") }
        XCTAssertEqual(values.reduce(0) { $0 + Double($1) }, sum, accuracy: 1e-5, "\(label): \(name)")
    }
}

/// The rows that a mask shows: "0-3 9-12" are 0, 1, 2 and 9, 10, 11.
private func ranges(_ line: ArraySlice<Float>) -> String {
    var found: [String] = [], first: Int?
    for (row, value) in (Array(line) + [-1]).enumerated() {
        if value == 0, first == nil { first = row }
        if value != 0, let start = first {
            found.append("\(start)-\(row)")
            first = nil
        }
    }
    return found.joined(separator: " ")
}

extension Manifest {
    static func made(
        context: Int, rows: Int, functions: [String: Int], reads: [String: Int] = [:], window: Int? = nil,
        localWindow: Int? = nil, learned: Int? = nil, padding: Int = 0, vocabulary: Int = 101
    ) -> Manifest {
        let parameters = try! JSONDecoder().decode(RotaryParameters.self, from: Data(#"{"rotaryDim": 8}"#.utf8))
        return Manifest(
            schemaVersion: 1, contract: "lilims.decoder/1", name: "made", version: "1.0.0", licence: nil,
            architecture: .init(layers: 2, hiddenSize: 8, vocabSize: vocabulary),
            positions: .init(kind: learned == nil ? "rotary" : "learned", rotary: learned == nil ? parameters : nil,
                localRotary: nil, learned: learned),
            tokens: .init(bos: nil, eos: [], padding: padding), context: context, maskValue: -1e4, window: window,
            localWindow: localWindow, state: .init(name: "kv_cache", shape: [4, 1, rows, 32]),
            functions: Dictionary(uniqueKeysWithValues: functions.map { name, tokens in
                (name, Function(tokens: tokens, rows: reads[name] ?? rows, logits: "last"))
            }),
            computeUnits: "CPU_ONLY", package: "model.mlpackage", parts: [], embedding: nil, files: [:], digest: nil
        )
    }
}
