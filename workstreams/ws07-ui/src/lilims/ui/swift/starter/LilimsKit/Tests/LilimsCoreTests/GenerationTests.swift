import XCTest

@testable import LilimsCore

/// The decoding loop: on recorded calls of the built-in model, and on a model of the tests' own.
final class GenerationTests: XCTestCase {
    private struct Trace: Decodable {
        struct Run: Decodable {
            var text: String
            var prompt: [Int]
            var sampling: SamplingParameters
            var calls: [CallVector]
            var tokens: [Int]
            var answer: String
        }

        var runs: [Run]
    }

    /// Names as they stand in the file: masks and integers are keyed by the contract's names.
    private struct Named: Decodable {
        struct Run: Decodable {
            struct Call: Decodable {
                var integers: [String: [Int32]]
                var masks: [String: [String]]
            }

            var calls: [Call]
        }

        var runs: [Run]
    }

    /// Gives the recorded logits for the recorded inputs, and no others.
    private actor Recorded: DecoderExecutor {
        var calls: [(CallVector, Named.Run.Call)]

        init(_ calls: [(CallVector, Named.Run.Call)]) { self.calls = calls }

        func predict(_ function: String, inputs: [String: Tensor], count: Int) async throws -> [Float] {
            guard !calls.isEmpty else { throw Failure("more calls than recorded") }
            let (call, named) = calls.removeFirst()
            XCTAssertEqual(function, call.function)
            compare(inputs, named.integers, named.masks, call.sums, "\(call.chunk)")
            return call.logits?.integers(UInt16.self).map(Half.value) ?? Array(repeating: 0, count: count)
        }
    }

    func testTheBuiltInModelSaysWhatPythonSays() async throws {
        let folder = Bundle.module.url(forResource: "Vectors", withExtension: nil)!
        let named = try JSONDecoder().decode(Named.self, from: Data(contentsOf: folder.appending(path: "trace.json")))
        let runs = try Vectors.read("trace", as: Trace.self).runs
        let tokenizer = try Tokenizer(Vectors.read("tokenizers", as: [Files].self)[0].file)
        for (run, names) in zip(runs, named.runs) {
            let manifest = Manifest.stories(), executor = Recorded(Array(zip(run.calls, names.calls)))
            XCTAssertEqual(tokenizer.encode(run.text), run.prompt)
            let session = try DecoderSession(manifest, executor: executor)
            let request = GenerationRequest(prompt: run.prompt, sampling: run.sampling, maxTokens: run.tokens.count)
            var tokens: [Int] = [], text = ""
            for try await token in try session.generate(request, tokenizer: tokenizer) {
                tokens.append(token.id)
                text += token.text
                XCTAssertEqual(token.end, tokens.count == run.tokens.count ? .length : nil)
            }
            XCTAssertEqual(tokens, run.tokens)
            XCTAssertEqual(text, run.answer)
            let left = await executor.calls.count
            XCTAssertEqual(left, 0)
        }
    }

    private struct Files: Decodable { var file: TokenizerFile }

    /// The token after t is t + 1: a model that counts, and counts its calls.
    private actor Counting: DecoderExecutor {
        private(set) var calls = 0
        private(set) var fails = false
        private var pause = Duration.zero

        func fail() { fails = true }

        func slow(_ pause: Duration) { self.pause = pause }

        func predict(_ function: String, inputs: [String: Tensor], count: Int) async throws -> [Float] {
            calls += 1
            let pause = pause
            if pause > .zero { await Task.detached { try? await Task.sleep(for: pause) }.value }  // as Core ML: not to be cancelled
            if fails { throw Failure("broken", in: function) }
            guard case .integers(let ids)? = inputs["input_ids"]?.values else { return [] }
            var last = ids.count - 1
            if case .integers(let row)? = inputs["last"]?.values { last = Int(row[0]) }
            var logits = [Float](repeating: 0, count: count)
            logits[(Int(ids[last]) + 1) % count] = 1
            return logits
        }
    }

    private func counting(context: Int = 40, policy: ContextPolicy = .error) throws -> (DecoderSession, Counting, Tokenizer) {
        let executor = Counting()
        let manifest = Manifest.made(context: context, rows: 64, functions: ["decode": 1, "prefill": 8])
        let tokenizer = try Tokenizer(Vectors.read("tokenizers", as: [Files].self)[0].file)
        return (try DecoderSession(manifest, executor: executor, policy: policy), executor, tokenizer)
    }

    func testAStopTokenEndsWithoutText() async throws {
        let (session, _, tokenizer) = try counting()
        let stream = try session.generate(.init(prompt: [1, 2, 3], stopTokens: [7]), tokenizer: tokenizer)
        var tokens: [GeneratedToken] = []
        for try await token in stream { tokens.append(token) }
        XCTAssertEqual(tokens.map(\.id), [4, 5, 6, 7])
        XCTAssertEqual(tokens.last?.end, .stop)
        XCTAssertEqual(tokens.last?.text, "")
    }

    func testAFullContextEndsWithLength() async throws {
        let (session, _, tokenizer) = try counting(context: 10)
        var tokens: [GeneratedToken] = []
        for try await token in try session.generate(.init(prompt: [1, 2, 3]), tokenizer: tokenizer) { tokens.append(token) }
        XCTAssertEqual(tokens.count, 8)  // 3 + 7 stand in the state, the eighth is shown only
        XCTAssertEqual(tokens.last?.end, .length)
    }

    func testRollingGoesOn() async throws {
        let (session, _, tokenizer) = try counting(policy: .rolling)
        var count = 0
        for try await _ in try session.generate(.init(prompt: [1], maxTokens: 200), tokenizer: tokenizer) { count += 1 }
        XCTAssertEqual(count, 200)
    }

    func testWhatTheStateHoldsIsNotRunAgain() async throws {
        let (session, executor, _) = try counting()
        _ = try await session.append([1, 2, 3, 4, 5])
        let kept = try await session.keep([1, 2, 3, 9, 9])
        XCTAssertEqual(kept, 3)
        let again = try await session.keep([1, 2, 3])
        XCTAssertEqual(again, 2)  // the last id's logits are wanted
        let calls = await executor.calls
        XCTAssertEqual(calls, 1)
    }

    func testTheReaderIsNotOverrun() async throws {
        let (session, executor, tokenizer) = try counting(policy: .rolling)
        let request = GenerationRequest(prompt: [1], maxTokens: 100, ahead: 4)
        var reader = try session.generate(request, tokenizer: tokenizer).makeAsyncIterator()
        for _ in 0..<3 { _ = try await reader.next() }
        for _ in 0..<50 { try await Task.sleep(for: .milliseconds(2)) }
        let calls = await executor.calls
        XCTAssertLessThanOrEqual(calls, 3 + 4 + 1)  // read, waiting, and one in hand
    }

    func testCancellationEndsTheWork() async throws {
        let (session, executor, tokenizer) = try counting(policy: .rolling)
        let stream = try session.generate(.init(prompt: [1]), tokenizer: tokenizer)
        let reader = Task {
            var count = 0
            for try await _ in stream {
                count += 1
                if count == 5 { withUnsafeCurrentTask { $0?.cancel() } }
            }
        }
        _ = await reader.result
        var before = -1, now = await executor.calls
        for _ in 0..<100 where before != now {
            try await Task.sleep(for: .milliseconds(20))
            (before, now) = (now, await executor.calls)
        }
        XCTAssertEqual(before, now, "it goes on")
        XCTAssertLessThan(now, 40)
        _ = try await session.append([1])  // the session is free again
    }

    func testTheSessionIsFreeWhenACancelledReaderEnds() async throws {
        let (session, executor, tokenizer) = try counting(policy: .rolling)
        await executor.slow(.milliseconds(50))
        let stream = try session.generate(.init(prompt: [1], ahead: 100), tokenizer: tokenizer)
        let reader = Task { for try await _ in stream {} }
        var calls = 0
        while calls < 2 {
            try await Task.sleep(for: .milliseconds(5))
            calls = await executor.calls
        }
        reader.cancel()
        guard case .failure(is CancellationError) = await reader.result else { return XCTFail("not cancelled") }
        _ = try await session.append([1])
    }

    func testAnErrorReachesTheReader() async throws {
        let (session, executor, tokenizer) = try counting()
        await executor.fail()
        do {
            for try await _ in try session.generate(.init(prompt: [1, 2]), tokenizer: tokenizer) { XCTFail("a token") }
            XCTFail("no error")
        } catch let failure as Failure {
            XCTAssertEqual(failure.what, "broken")
        }
        let tokens = await session.tokens
        XCTAssertEqual(tokens, [])
    }

    func testPromptsThatCannotBe() async throws {
        let (session, executor, tokenizer) = try counting(context: 10)
        XCTAssertThrowsError(try session.generate(.init(prompt: []), tokenizer: tokenizer))
        XCTAssertThrowsError(try session.generate(.init(prompt: [1], maxTokens: 0), tokenizer: tokenizer))
        for prompt in [Array(repeating: 1, count: 11), [1, 101], [-1]] {
            do {
                for try await _ in try session.generate(.init(prompt: prompt), tokenizer: tokenizer) {}
                XCTFail("\(prompt)")
            } catch is Failure {}
        }
        let calls = await executor.calls
        XCTAssertEqual(calls, 0)
    }
}

extension Manifest {
    /// The built-in model's, as far as a session looks at it.
    static func stories() -> Manifest {
        var manifest = Manifest.made(context: 512, rows: 640, functions: ["decode": 1, "prefill": 128], vocabulary: 2048)
        let parameters = Data(#"{"rotaryDim": 32}"#.utf8)
        manifest.positions.rotary = try! JSONDecoder().decode(RotaryParameters.self, from: parameters)
        return manifest
    }
}
