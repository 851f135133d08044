/// Runs a package's functions over one state. LilimsKit's `CoreMLExecutor` is one.
///
/// A session makes one call at a time.
public protocol DecoderExecutor: Sendable {
    /// Runs a function once.
    ///
    /// - Returns: the first `count` logits of the one row that the function returns.
    func predict(_ function: String, inputs: [String: Tensor], count: Int) async throws -> [Float]
}

/// A state and the tokens that it holds: tokens go in, logits come out. Owns the state: one call at a time.
///
/// Knows planned calls and an executor. Must not know text, sampling or when to stop. A call that fails between its chunks
/// leaves `tokens` behind the last chunk that was done: rows after it are written again before any mask shows them.
public actor DecoderSession {
    public let shape: DecoderShape
    public let policy: ContextPolicy
    /// All ids since the session was empty.
    public private(set) var tokens: [Int] = []
    /// How many tokens the last `keep` found in the state already.
    public private(set) var reused = 0
    private let executor: any DecoderExecutor
    private let inputs: StepInputs
    private let embedding: HostEmbedding?
    private let vocabulary: Int
    private var held: StateRows
    private var busy = false

    public init(
        _ manifest: Manifest, executor: any DecoderExecutor, embedding: HostEmbedding? = nil,
        policy: ContextPolicy = .error
    ) throws {
        shape = try DecoderShape(manifest)
        if policy == .rolling, shape.maxPositions != nil {
            throw Failure("a model of learned positions cannot go on behind its context")
        }
        self.policy = policy
        self.executor = executor
        self.embedding = embedding
        inputs = try StepInputs(shape, positions: manifest.positions)
        vocabulary = manifest.architecture.vocabSize
        held = StateRows(count: shape.rows)
    }

    /// How many more tokens are taken; nil is any number.
    public var room: Int? { policy == .error ? shape.context - tokens.count : nil }

    /// The most tokens of a prompt that one call takes.
    public nonisolated var piece: Int { shape.functions["prefill"] ?? 1 }

    /// Goes back to the longest beginning of `ids` that the state holds, without the last id, and says how long it is.
    public func keep(_ ids: [Int]) throws -> Int {
        try alone()
        defer { busy = false }
        var same = 0
        while same < min(tokens.count, ids.count - 1), tokens[same] == ids[same] { same += 1 }
        if !rewinds(to: same) { same = 0 }
        tokens.removeSubrange(same...)
        held.forget(from: same)
        reused = same
        return same
    }

    /// Forgets all tokens.
    public func reset() throws {
        try alone()
        defer { busy = false }
        tokens = []
        held.forget(from: 0)
    }

    /// Writes tokens behind those that the session has; the logits of the last one.
    public func append(_ ids: [Int]) async throws -> [Float] {
        guard !ids.isEmpty else { throw Failure("there are no tokens to continue from") }
        if let wrong = ids.first(where: { !(0..<vocabulary).contains($0) }) {
            throw Failure("token \(wrong) is outside the vocabulary of \(vocabulary)")
        }
        try alone()
        defer { busy = false }
        var logits: [Float] = [], done = 0
        for call in try shape.plan(ids.count, position: tokens.count, policy: policy) {
            try Task.checkCancellation()
            let part = ids[done..<done + call.chunk.count]
            logits = try await run(call, part)
            tokens += part
            done += call.chunk.count
        }
        return logits
    }

    private func run(_ call: Call, _ part: ArraySlice<Int>) async throws -> [Float] {
        var values = inputs.build(call, ids: part, held: held)
        if let embedding, case .integers(let ids)? = values.removeValue(forKey: "input_ids")?.values {
            let rows = try embedding.rows(ids)
            values["hidden"] = Tensor(rows, shape: [1, ids.count, rows.count / ids.count])
        }
        held.begin(call.chunk)
        let logits = try await executor.predict(call.function, inputs: values, count: vocabulary)
        guard logits.count == vocabulary else { throw Failure("\(call.function) returned \(logits.count) logits") }
        held.finish(call.chunk)
        return logits
    }

    /// Whether the state still has what the next token at `position` looks back to.
    private func rewinds(to position: Int) -> Bool {
        let widest = max(shape.window ?? shape.context, shape.localWindow ?? 0)
        let first = max(position - min(shape.context, widest) + 1, 0)
        return (first..<max(position, first)).allSatisfy { held.positions[ringRow($0, rows: shape.rows)] == $0 }
    }

    /// An actor lets others in while it waits: a second user would plan over rows that are being written.
    private func alone() throws {
        if busy { throw Failure("the session is in use", next: "Wait for the answer, or stop it") }
        busy = true
    }
}
